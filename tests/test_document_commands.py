"""Every command of README and docs: run in a copy, or only parsed where its marker says why.

The comment above a block, which readers do not see, says how; blocks of Python that have `run` are run, too:

    <!-- run -->                                            each line, as it is
    <!-- run, but parse: fetch, get (downloads) -->         lines that have one of these words are only parsed
    <!-- run; with: "total_iter=100" => "total_iter=1" -->  with this put in the place of that
    <!-- parse: it takes hours -->                          commands, options and files exist
"""

import functools
import glob
import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
import torch
import typer
import yaml

from tests.conftest import REPOSITORY, Finished, photograph
from tests.pipeline.plugin_helpers import write_documented_files
from vapsr_arch.archs import NETWORKS
from vapsr_arch.cli import app
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.data.packing import make_pack

PAGES = [REPOSITORY / 'README.md', REPOSITORY / 'experiments/pretrained_models/README.md',
         *sorted((REPOSITORY / 'docs').glob('*.md'))]
_BLOCK = re.compile(r'^(?:<!-- (?P<marker>.*?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r'(?:run(?P<but>, but parse: (?P<words>[\w, ]+) \((?P<reason>.+?)\))?'
                     r'(?:; with: "(?P<old>.+?)" => "(?P<new>.+?)")?|parse: .+)')
_SHELL = ('', 'bash', 'sh', 'console')


class Block(NamedTuple):
    """A code block: where it is, its marker, and its text."""

    where: str
    marker: str | None
    code: str


def _blocks(*languages: str) -> list[Block]:
    return [Block(f'{page.relative_to(REPOSITORY)}:{text[:found.start()].count(chr(10)) + 1}', found['marker'], found['code'])
            for page in PAGES for text in [page.read_text(encoding='utf-8')] for found in _BLOCK.finditer(text)
            if found['language'] in languages]


def _commands(code: str) -> list[list[str]]:
    """The lines of a block as lists of words, without variables before a command, and `do` and `done` around it."""
    lines = (re.sub(r'^(for .* do|\w+=\S+) |; done$', '', line.strip()) for line in
             re.sub(r';\s*do\n', ' do ', code.replace('\\\n', ' ')).splitlines())
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def _parse(words: list[str]) -> None:
    """Fails where a command, an option or a file of the repository does not exist."""
    program, *rest = words
    if program in ('torchrun', 'srun'):
        rest = rest[rest.index('-m') + 1:]
        program, rest = 'vapsr', [rest[0].removeprefix('vapsr_arch.'), *rest[1:]]
    if program == 'vapsr':
        command = typer.main.get_command(app)
        while hasattr(command, 'commands'):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context('vapsr', list(rest))
    elif program == 'make':
        assert re.search(rf'^{rest[0]}:', (REPOSITORY / 'Makefile').read_text(), re.MULTILINE), words
    elif program in ('python', 'python3'):
        assert importlib.util.find_spec(rest[1]) if rest[0] == '-m' else (REPOSITORY / rest[0]).is_file(), words
    else:
        assert program in ('pip', 'uv', '.', 'git', 'cd', 'export'), f'{words}: not a command that this test knows'


@pytest.fixture(scope='module')
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands need: small images and networks under the names that the pages use."""
    folder = tmp_path_factory.mktemp('reader')
    shutil.copytree(REPOSITORY / 'options', folder / 'options')
    weights = folder / 'experiments/pretrained_models'
    shutil.copytree(REPOSITORY / 'experiments/pretrained_models', weights, ignore=shutil.ignore_patterns('*.log'))
    torch.manual_seed(0)
    for scale in (2, 4):
        network = NETWORKS['VapSR'](scale=scale, num_feat=48, num_block=21)
        torch.save({'params': network.state_dict()}, weights / f'VapSR_X{scale}.pth')
    shutil.copy(weights / 'VapSR_X4.pth', folder / 'IN.pth')
    for name, image in (('photo.jpg', photograph(24, 32, 0)), ('photos/a.png', photograph(64, 48, 1)),
                        ('photos/b.png', photograph(48, 64, 2)), ('photos_val/c.png', photograph(40, 48, 5)),
                        ('datasets/DIV2K/HR/0001.png', photograph(480, 488, 3)),
                        ('datasets/Flickr2K/HR/000001.png', photograph(488, 480, 4))):
        _write(folder / name, image)
    for index, name in enumerate(('Set5', 'Set14', 'B100', 'Urban100', 'Manga109')):
        hr = photograph(48, 40, 10 + index)
        _write(folder / f'datasets/{name}/HR/1.png', hr)
        _write(folder / f'datasets/{name}/LR_bicubic/X4/1.png', imresize(hr, 1 / 4))
    make_pack([folder / 'photos'], folder / 'datasets/photos.pack', 4, 'symmetric', 1, False)
    _write_options(folder)
    return folder


def _write(path: Path, image: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _write_options(folder: Path) -> None:
    """my_options.yml, that of docs/data.md as web.yml, and my_train.yml as the pages describe them, but small; and its files."""
    options = yaml.safe_load((REPOSITORY / 'options/train/VapSR/train_VapSR-S_x4_photos.yml').read_text())
    options['train']['total_iter'] = 2
    options['path']['pretrain_network_g'] = None
    options['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 2}
    options |= {'name': 'mine', 'num_gpu': 0, 'network_g': {'type': 'VapSR', 'scale': 4, 'num_feat': 8, 'num_block': 1}}
    text = (REPOSITORY / 'docs/data.md').read_text()
    web = yaml.safe_load(re.search(r'```yaml\n(datasets:\n.*?)```', text, re.DOTALL)[1])['datasets']
    for name, datasets in (('web', web), ('my_options', options['datasets'])):
        datasets['train'] |= {'gt_size': 32, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1, 'dataset_enlarge_ratio': 2}
        (folder / f'{name}.yml').write_text(yaml.safe_dump(options | {'datasets': datasets}, sort_keys=False))
    write_documented_files(folder)
    text = (REPOSITORY / 'docs/extending.md').read_text()
    changed = yaml.safe_load(re.search(r'```yaml\n(name: train_MyNet.*?)```', text, re.DOTALL)[1])
    options |= {'name': changed['name'], 'network_g': changed['network_g']}
    (folder / 'my_train.yml').write_text(yaml.safe_dump(options, sort_keys=False))


@pytest.mark.parametrize('block', _blocks(*_SHELL), ids=lambda block: block.where)
def test_every_block_has_a_marker_and_parses(block: Block) -> None:
    assert block.marker and _MARKER.fullmatch(block.marker), f'{block.where}: this block needs a marker: see this test'
    for words in _commands(block.code):
        if words != ['vapsr', '--help']:
            _parse(words)


def _runs(*languages: str) -> list[Block]:
    """Blocks to run; what several pages show alike once."""
    return list({block.code: block for block in _blocks(*languages) if (block.marker or '').startswith('run')}.values())


@pytest.mark.parametrize('block', _runs('python'), ids=lambda block: block.where)
def test_python_runs(block: Block, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(furnished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.code, block.where, 'exec'), {})


@pytest.mark.parametrize('block', _runs(*_SHELL), ids=lambda block: block.where)
def test_commands_run(block: Block, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      own_plugins: None, vapsr: Callable[..., Finished]) -> None:
    shutil.copytree(furnished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    marker = _MARKER.fullmatch(block.marker)
    parsed = {word.strip() for word in (marker['words'] or '').split(',')}
    for words in _commands(block.code.replace(marker['old'] or '\0', marker['new'] or '')):
        assert words[0] == 'vapsr', words
        if not parsed & set(words):
            expanded = [glob.glob(word) if '*' in word else [word] for word in words[1:]]
            result = vapsr(*functools.reduce(list.__add__, expanded, []))
            assert result.code == 0, f'{words}: {result.err[-2000:]}'
