"""Files of ncnn: their names and blobs, that ncnn has run them first, and that no fault of pnnx or ncnn leaves a file."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Finished
from tests.inference.export_helpers import save, small_network
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.errors import VapsrError
from vapsr_arch.export import ncnn_files
from vapsr_arch.export.ncnn_files import export_ncnn, ncnn_name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stands in for pnnx and for the process that runs ncnn: each call does what is given for it."""
    monkeypatch.setitem(sys.modules, 'pnnx', SimpleNamespace(EXEC_PATH='pnnx'))

    def install(**do: Callable[[list, Path], Any]) -> None:
        def run(command: list, cwd: Path | None = None, **_: Any) -> SimpleNamespace:
            code, words = do['pnnx' if command[0] == 'pnnx' else 'ncnn'](command, cwd)
            return SimpleNamespace(returncode=code, stderr=words)
        monkeypatch.setattr(ncnn_files.subprocess, 'run', run)
    return install


def converts(command: list, cwd: Path) -> tuple[int, str]:
    Path(cwd, 'model.param').write_text('Input i 0 1 in0\nGELU g 1 1 in0 1\nInterp u 2 1 1 in0 out0 0=2 5=1 6=0 9="1w,1h"\n')
    Path(cwd, 'model.bin').write_bytes(b'weights')
    return 0, ''


@pytest.mark.parametrize(('stem', 'scale', 'name'), [
    ('VapSR-S_x4', 4, 'VapSR-S-x4'), ('VapSR_X2', 2, 'VapSR-x2'), ('net', 3, 'net-x3'), ('net_x2', 4, 'net_x2-x4')])
def test_the_name_ends_in_the_scale(stem: str, scale: int, name: str) -> None:
    assert ncnn_name(stem, scale) == name


def test_the_files_are_written_for_the_programs(folder: Path, children: Callable) -> None:
    network, seen = small_network('VapSR'), []

    def upscales(command: list, cwd: Path | None) -> tuple[int, str]:
        seen.append(Path(command[2]).read_text())
        with torch.no_grad():
            np.save(command[4], network(torch.from_numpy(np.load(command[3]))).numpy() + 0.001 * (' 0=1' in seen[-1]))
        return 0, ''
    children(pnnx=converts, ncnn=upscales)
    difference, approximation = export_ncnn(network, Path('a-x4.param'))
    assert difference < 1e-6 and approximation == pytest.approx(1e-3, rel=0.01)
    assert Path('a-x4.param').read_text() == (
        'Input i 0 1 data\nGELU g 1 1 data 1\nInterp u 2 1 1 data output 0=2 5=1 6=0\n') == seen[0]
    assert seen[-1].splitlines()[1] == 'GELU g 1 1 data 1 0=1'
    assert Path('a-x4.bin').read_bytes() == b'weights'


def slow(command: list, cwd: Path | None) -> tuple[int, str]:
    raise subprocess.TimeoutExpired(command, 1)


def wrong(command: list, cwd: Path | None) -> tuple[int, str]:
    np.save(command[4], np.zeros((1, 3, 4, 4), np.float32))
    return 0, ''


@pytest.mark.parametrize(('faults', 'words'), [
    ({'pnnx': lambda command, cwd: (-11, '')}, r'pnnx \(extra `ncnn`\) cannot convert VapSR: it ended with code -11'),
    ({'pnnx': lambda command, cwd: (0, 'no such operator')}, 'ended with code 0: no such operator'),
    ({'pnnx': slow}, r'pnnx \(extra `ncnn`\) was not done with VapSR'),
    ({'pnnx': converts, 'ncnn': slow}, 'did not run what pnnx made'),
    ({'pnnx': converts, 'ncnn': lambda command, cwd: (1, 'layer aten::x not exists\n')}, 'layer aten::x not exists'),
    ({'pnnx': converts, 'ncnn': lambda command, cwd: (-11, '')}, r'cannot run what .*: it ended with code -11'),
    ({'pnnx': converts, 'ncnn': wrong}, 'differs'),
])
def test_faults_are_said_in_a_sentence_and_leave_no_file(folder: Path, children: Callable, faults: dict, words: str) -> None:
    children(**faults)
    with pytest.raises(VapsrError, match=f'^a.param was not written: .*{words}'):
        export_ncnn(small_network('VapSR'), Path('a.param'))
    assert not list(folder.iterdir())


def test_grey_networks_are_refused(folder: Path) -> None:
    with pytest.raises(VapsrError, match=r'^a.param was not written: VapSR takes 1 channels'):
        export_ncnn(VapSR(num_in_ch=1, num_feat=8, num_block=1), Path('a.param'))


def test_the_command_names_the_extra(folder: Path, vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 'VapSR')
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *more: None if name == 'pnnx' else find(name, *more))
    result = vapsr('export', 'VapSR.pth', '--ncnn', 'models')
    assert result.code == 1 and "`pip install 'vapsr_arch[ncnn]'`" in result.err and not Path('models').exists()


@pytest.mark.parametrize('name', ['VapSR', 'BSRN_S'])
def test_ncnn_runs_what_the_command_writes(folder: Path, vapsr: Callable[..., Finished], name: str) -> None:
    """The command itself compares with torch; VapSR normalises over channels, and BSRN-S resizes to another blob's size."""
    pytest.importorskip('ncnn')
    pytest.importorskip('pnnx')
    save(folder, name)
    result = vapsr('export', f'{name}.pth', '--ncnn', 'models')
    assert result.code == 0, result.err
    assert sorted(path.name for path in Path('models').iterdir()) == [f'{name}-x4.bin', f'{name}-x4.param']
    assert result.out.startswith(f'models/{name}-x4.param: within ') and 'approximation of GELU' in result.out
    again = vapsr('export', f'{name}.pth', '--ncnn', 'models')
    assert again.code == 1 and f'models/{name}-x4.param and models/{name}-x4.bin exists' in again.err
