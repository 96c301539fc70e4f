"""The rooms of the package: who may import whom, read off every import statement, those within functions included."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / 'vapsr_arch'
FLOORS = (  # arrows point down only
    {'errors', 'files', 'memory', 'downloads', 'archives', 'basicsr_imports', 'torchvision_operators', ''}, {'archs'},
    {'data', 'weights', 'options', 'metrics'}, {'models'}, {'pipeline', 'plugin'}, {'engines', 'export'},
    {'report', 'inference'}, {'app'}, {'cli'}, {'train', 'test', '__main__'})


def modules() -> dict[str, Path]:
    """The package's modules by their names."""
    paths = {'.'.join(path.relative_to(REPOSITORY).with_suffix('').parts): path for path in PACKAGE.rglob('*.py')}
    return {name.removesuffix('.__init__'): path for name, path in paths.items()}


def imported_by(path: Path, known: set[str]) -> set[str]:
    """The modules of the package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}: a relative import'
            names |= {full if (full := f'{node.module}.{alias.name}') in known else node.module for alias in node.names}
    return names & known


def arrows() -> dict[str, set[str]]:
    paths = modules()
    return {name: imported_by(path, set(paths)) for name, path in paths.items()}


def room(module: str) -> str:
    return module.partition('.')[2].partition('.')[0]


def test_arrows_point_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = [f'{name} imports {other}' for name, others in arrows().items() for other in others
             if floor[room(other)] > floor[room(name)]]
    assert not wrong


@pytest.mark.parametrize('of_rooms', [False, True])
def test_there_is_no_circle(of_rooms: bool) -> None:
    graph: dict[str, set[str]] = {}
    for name, others in arrows().items():
        for other in others:
            ends = (room(name), room(other)) if of_rooms else (name, other)
            if ends[0] != ends[1]:
                graph.setdefault(ends[0], set()).add(ends[1])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(' imports '.join(reversed(error.args[1])))


def test_mocks_are_for_tests() -> None:
    assert not [path for path in modules().values() if 'mock' in path.read_text(encoding='utf-8')]


def loaded_by(code: str) -> set[str]:
    """The modules that a new process has imported after some code."""
    code = f'{code}\nimport sys\nprint("loaded:", *sys.modules)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition('loaded:')[2].split())


def test_networks_and_engines_do_without_basicsr() -> None:
    rooms = 'archs', 'weights', 'engines', 'inference'
    names = sorted(name for name in modules() if room(name) in rooms)
    optional = [name for name in names if 'triton' in name]  # triton comes with torch's builds for GPUs
    loaded = loaded_by('\n'.join(f'import {name}' for name in names if name not in optional))
    assert 'basicsr' not in loaded
    assert {'vapsr_arch.inference.upscaler', 'vapsr_arch.inference.batch', 'vapsr_arch.engines.torch_engines'} <= loaded


@pytest.mark.parametrize('module', ['train', 'test'])
def test_a_module_that_torchrun_starts_is_imported_once(module: str) -> None:
    """Beside `__main__`, which it is."""
    loaded = loaded_by(f"""
import runpy, sys
sys.argv = ['x', '-opt', 'none.yml']
try:
    runpy.run_module('vapsr_arch.{module}', run_name='__main__', alter_sys=True)
except SystemExit as stop:
    assert stop.code == 2
""")
    assert 'vapsr_arch.cli' in loaded and f'vapsr_arch.{module}' not in loaded
    assert not [name for name, others in arrows().items() if f'vapsr_arch.{module}' in others]
