"""README and docs: links lead somewhere, commands and options exist; words are plain there and in the code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.conftest import REPOSITORY
from vapsr_arch.cli import app

PAGES = [REPOSITORY / 'README.md', REPOSITORY / 'experiments/pretrained_models/README.md',
         *sorted((REPOSITORY / 'docs').glob('*.md'))]
LINK = re.compile(r'\]\(([^)\s]+)\)')
HEADING = re.compile(r'^#+ (.+)$', re.MULTILINE)
WORDS = re.compile(r'\b(pictures?|enlarge[sd]?|enlarging|anew|mend(s|ed)?|go(es)? on|moments)\b', re.IGNORECASE)
CODE = re.compile(WORDS.pattern.replace('moments', 'moments|tells?|told|telling'), re.IGNORECASE)
FINISHED = 'archs', 'models', 'options', 'pipeline', 'report'
FOLDERS = [*(f'{root}/{name}' for root in ('vapsr_arch', 'tests') for name in FINISHED), 'benchmarks',
           'experiments/pretrained_models']


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    kept = (re.sub(r'[^\w\- ]', '', heading.lower()) for heading in HEADING.findall(page.read_text(encoding='utf-8')))
    return {heading.replace(' ', '-') for heading in kept}


def commands(page: Path) -> Iterator[list[str]]:
    """The lines of code blocks that call vapsr, as lists of arguments."""
    for block in re.findall(r'^```(?:bash)?\n(.*?)^```', page.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            if line.startswith('vapsr '):
                yield shlex.split(line, comments=True)[1:]


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
def test_commands_and_options_exist(page: Path) -> None:
    for arguments in commands(page):
        command, rest = typer.main.get_command(app), arguments
        while hasattr(command, 'commands'):
            assert rest[0] in command.commands, arguments
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {argument for argument in rest if re.fullmatch(r'--?[a-z][\w-]*', argument)} <= known, arguments


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_words_are_plain(page: Path) -> None:
    assert not WORDS.findall(re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL))


@pytest.mark.parametrize('folder', FOLDERS)
def test_words_in_code_are_plain(folder: str) -> None:
    """`docs/architecture.md` has the field's words."""
    found = [f'{path.relative_to(REPOSITORY)}:{number}: {line.strip()}' for path in sorted((REPOSITORY / folder).rglob('*.py'))
             for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1) if CODE.search(line)]
    assert not found, '\n'.join(found)


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / 'README.md').read_text(encoding='utf-8').splitlines()) <= 150
