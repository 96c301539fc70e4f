"""A benchmark of three small networks, of which one has no checkpoint."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import torch
import yaml
from filelock import FileLock

from tests.conftest import SMALL_NETWORK, photograph
from tests.report.quick_benchmarks import benchmark_quickly
from vapsr_arch.archs import NETWORKS
from vapsr_arch.cli import main
from vapsr_arch.data.matlab_resize import imresize

SMALL = {'VapSR': SMALL_NETWORK, 'IMDN': {'type': 'IMDN', 'scale': 2, 'num_feat': 16, 'num_block': 1}}


def _options(name: str, network: dict[str, Any], /, **more: Any) -> dict[str, Any]:
    sets = {'test_1': 'photos', 'test_2': 'absent'}
    return {
        'name': f'test_{name}_x2', 'model_type': 'VapSRModel', 'scale': 2, 'num_gpu': 0,
        'datasets': {phase: {'name': folder, 'type': 'PairedImageDataset', 'dataroot_gt': f'datasets/{folder}/HR',
                             'dataroot_lq': f'datasets/{folder}/LR', 'io_backend': {'type': 'disk'}}
                     for phase, folder in sets.items()},
        'network_g': network, 'path': {'pretrain_network_g': f'{name}.pth'},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True},
                            'ssim': {'type': 'calculate_ssim', 'crop_border': 2, 'test_y_channel': True}}}, **more}


def write_options(name: str, network: dict[str, Any], /, **more: Any) -> str:
    """Writes NAME.yml into the current folder."""
    Path(f'{name}.yml').write_text(yaml.safe_dump(_options(name, network, **more), sort_keys=False))
    return f'{name}.yml'


class Benchmarked(NamedTuple):
    """A folder with option files and a benchmark of them in `out`, how the command ended, and what it said on stderr."""

    folder: Path
    out: Path
    code: int
    err: str


@pytest.fixture(scope='package')
def benchmarked(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Benchmarked]:
    """A benchmark of VapSR.yml, IMDN.yml and broken.yml into `out`, with a strip and receptive fields; the current folder.

    One of pytest-xdist's processes makes it, the others take a copy.
    """
    folder = tmp_path_factory.mktemp('benchmark')
    common = folder if worker_id == 'master' else tmp_path_factory.getbasetemp().parent / 'benchmark'
    code = common / 'code.txt'
    with FileLock(f'{common}.lock'):
        if not code.exists():
            common.mkdir(exist_ok=True)
            code.write_text(str(_benchmark(common)))
    if common != folder:
        shutil.copytree(common, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        benchmark_quickly(patch)
        yield Benchmarked(folder, folder / 'out', int(code.read_text()), (folder / 'err.txt').read_text())


def _benchmark(folder: Path) -> int:
    """Makes the images, the option files and the benchmark of them in a folder; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        benchmark_quickly(patch)
        for index in range(5):
            hr = photograph(64, 96, index)
            for kind, image in (('HR', hr), ('LR', imresize(hr, 1 / 2))):
                path = folder / f'datasets/photos/{kind}/{index}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)
        for name, network in SMALL.items():
            torch.manual_seed(0)
            arguments = {key: value for key, value in network.items() if key != 'type'}
            torch.save({'params': NETWORKS[name](**arguments).state_dict()}, f'{name}.pth')
            write_options(name, network)
        write_options('broken', SMALL_NETWORK)
        with pytest.raises(SystemExit) as stop, Path('err.txt').open('w') as err, contextlib.redirect_stderr(err):
            main(['benchmark', 'VapSR.yml', 'IMDN.yml', 'broken.yml', '-o', 'out', '--compare', 'photos/2',
                  '--receptive-field'])
        return stop.value.code
