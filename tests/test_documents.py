"""README and docs: links lead somewhere, generated pages are those of the code; words are plain there and in the code."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / 'README.md', REPOSITORY / 'experiments/pretrained_models/README.md',
         *sorted((REPOSITORY / 'docs').glob('*.md'))]
LINK = re.compile(r'\]\(([^)\s]+)\)')
PATH = re.compile(r'(?<![\w./-])(?:options|experiments/pretrained_models|vapsr_arch|tests|benchmarks|docs|tools)/[\w./*-]*[\w*/]')
HEADING = re.compile(r'^#+ (.+)$', re.MULTILINE)
# Words of no field, or with another meaning in this one; `docs/architecture.md` has those to use. An underscore parts words, too.
_WORDS = 'pictures?|enlarge[sd]?|enlarging|enlargements?|anew|mend(s|ed|ing)?|go(es)? on|going on|went on|moments'
_ENDS = '(?<![a-z]){}(?![a-z])'
WORDS = re.compile(_ENDS.format(f'({_WORDS})'), re.IGNORECASE)
CODE = re.compile(_ENDS.format(rf'({_WORDS}|(?<!file\.)tells?|told|telling)'), re.IGNORECASE)
OPTION = 'dataset_enlarge_ratio'  # BasicSR's
FOLDERS = 'vapsr_arch', 'tests', 'benchmarks', 'docs', 'tools', 'options', 'experiments/pretrained_models'
SOURCES = [REPOSITORY / 'Makefile', REPOSITORY / 'setup.py',
           *(path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob('*'))
             if path.suffix in ('.py', '.c', '.html', '.css', '.yml') and path != Path(__file__))]


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    kept = (re.sub(r'[^\w\- ]', '', heading.lower()) for heading in HEADING.findall(page.read_text(encoding='utf-8')))
    return {heading.replace(' ', '-') for heading in kept}


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding='utf-8')):
        if link.startswith('http'):
            continue
        target, _, fragment = link.partition('#')
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not fragment or fragment in anchors(file), link


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_files_that_are_named_are_there(page: Path) -> None:
    """Of a clone, where a file that git ignores is not; the page of the architecture names those of the package from there."""
    roots = [REPOSITORY, REPOSITORY / 'vapsr_arch'] if page.name == 'architecture.md' else [REPOSITORY]
    for path in PATH.findall(page.read_text(encoding='utf-8')):
        assert any([*root.glob(path)] for root in roots), path


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_words_are_plain(page: Path) -> None:
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    assert not WORDS.findall(text.replace(OPTION, ''))


def test_words_in_code_are_plain() -> None:
    lines = [(f'{name(path)}:{number}: {line.strip()}', line.replace(OPTION, '')) for path in SOURCES
             for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)]
    assert not [where for where, line in lines if CODE.search(line)]


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / 'README.md').read_text(encoding='utf-8').splitlines()) <= 150


@pytest.mark.parametrize('file, page', runpy.run_path(str(REPOSITORY / 'docs/generate.py'))['PAGES'].items())
def test_generated_pages_are_those_of_the_code(file: str, page: Callable[[], str]) -> None:
    assert (REPOSITORY / 'docs' / file).read_text(encoding='utf-8') == page(), 'write it again: python docs/generate.py'


def test_the_site_has_every_page() -> None:
    """`make docs` would fail, too; this is found without mkdocs."""
    text = (REPOSITORY / 'mkdocs.yml').read_text(encoding='utf-8')
    pages = set(re.findall(r'\b(\w+\.md)$', text, re.MULTILINE))
    assert {page.name for page in PAGES if page.parent == REPOSITORY / 'docs'} == pages - {'index.md', 'shipped_weights.md'}
    assert yaml.safe_load(re.sub(r'!!python\S*', '', text))['strict']
