"""What mkdocs does beside docs/: README.md is the first page, and files of the repository that pages link to come along."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Pages outside docs/, by their name in the site.
PAGES = {'index.md': 'README.md', 'shipped_weights.md': 'experiments/pretrained_models/README.md'}
_LINK = re.compile(r'(\]\()(?!https?:|#)([^)#\s]+)')


def _in_site(target: str, source: str) -> str:
    """A link's target in the site, where it stood in `source`, a path from the root; pages of the site are in one folder."""
    path = (ROOT / source).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
    named = {file: page for page, file in PAGES.items()}
    return named.get(path, path.removeprefix('docs/') if path.startswith('docs/') else f'repository/{path}')


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages outside docs/, and the files that pages link to."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding='utf-8')))
    for file in list(files.documentation_pages()):
        source = PAGES.get(file.src_uri, f'docs/{file.src_uri}')
        for _, target in _LINK.findall(file.content_string):
            name = _in_site(target, source)
            if name.startswith('repository/') and (ROOT / name.removeprefix('repository/')).is_file():
                files.append(File.generated(config, name, abs_src_path=str(ROOT / name.removeprefix('repository/'))))
    return files


def on_page_markdown(markdown: str, page: Any, **more: Any) -> str:
    """Has links lead to the same files in the site."""
    source = PAGES.get(page.file.src_uri, f'docs/{page.file.src_uri}')
    return _LINK.sub(lambda found: found[1] + _in_site(found[2], source), markdown)
