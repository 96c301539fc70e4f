"""Fixtures: small photographs, option files that work on them, the command line in this process or in another."""

import os

# One thread a process, to be said before torch is imported: images are tiny, and tests run side by side on all cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import http.server
import importlib.util
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import cv2
import numpy as np
import pytest
import torch
import yaml

from vapsr_arch.archs import NETWORKS
from vapsr_arch.cli import main
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.pipeline.registration import register

register()  # before a test module imports what needs BasicSR

REPOSITORY = Path(__file__).parents[1]
SMALL_NETWORK = {'type': 'VapSR', 'scale': 2, 'num_feat': 8, 'num_block': 1, 'd_atten': 16}


class Finished(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(scope='session')
def reference() -> Path:
    """The folder of reference material: the authors' checkpoints and the benchmark images."""
    folder = Path(os.environ.get('VAPSR_REFERENCE', REPOSITORY.parent / 'shared'))
    if not (folder / 'weights').is_dir():
        pytest.skip(f'no reference material: {folder} (set VAPSR_REFERENCE)')
    return folder


def absent(what: str) -> NoReturn:
    """Skips a test that needs what is not here; fails it where `VAPSR_REQUIRE` names that, as it does in CI."""
    if what in os.environ.get('VAPSR_REQUIRE', '').split(','):
        pytest.fail(f'no {what}, which VAPSR_REQUIRE names')
    pytest.skip(f'no {what}')


@pytest.fixture(scope='session')
def triton() -> None:
    """Triton, which torch's builds for GPUs bring, and the test extra on Linux."""
    if importlib.util.find_spec('triton') is None:
        absent('triton')


@pytest.fixture(scope='session')
def chromium() -> str:
    """The path of a browser that shows pages without a screen."""
    return (shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
            or absent('chromium'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker('gpu'):
                item.add_marker(pytest.mark.skip(reason='no CUDA GPU'))


@pytest.fixture(autouse=True)
def fresh_logger() -> Iterator[None]:
    """BasicSR's logger keeps its first log file for the life of a process."""
    yield
    from basicsr.utils import logger
    for name in logger.initialized_logger:
        for handler in logging.getLogger(name).handlers[:]:
            handler.close()
            logging.getLogger(name).removeHandler(handler)
    logger.initialized_logger.clear()


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth image with edges: H x W x 3, uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty but for `datasets/photos`: four HR images and their LR images of x2."""
    for index in range(4):
        hr = photograph(40 + 8 * index, 48, index)
        for folder, image in (('HR', hr), ('LR', imresize(hr, 1 / 2))):
            path = tmp_path / 'datasets/photos' / folder / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pytest'])
    return tmp_path


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, section by section."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _dataset(**more: Any) -> dict[str, Any]:
    return {'name': 'photos', 'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR',
            'dataroot_lq': 'datasets/photos/LR', 'io_backend': {'type': 'disk'}, **more}


@pytest.fixture
def train_options(workspace: Path) -> Callable[..., str]:
    """Writes a training option file with the given changes; returns its name."""
    base = {
        'name': 'small', 'model_type': 'VapSRModel', 'scale': 2, 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {
            'train': _dataset(gt_size=16, use_hflip=True, use_rot=True, num_worker_per_gpu=0, batch_size_per_gpu=2),
            'val': _dataset()},
        'network_g': SMALL_NETWORK,
        'train': {
            'ema_decay': 0.9, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}, 'total_iter': 3,
            'pixel_opt': {'type': 'L1Loss'}},
        'val': {'val_freq': 100, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2},
    }
    return lambda **changes: _write('train.yml', merged(base, changes))


@pytest.fixture
def test_options(workspace: Path) -> Callable[..., str]:
    """Writes a test option file with the given changes, and a checkpoint for it; returns its name."""
    torch.manual_seed(0)
    arguments = {key: value for key, value in SMALL_NETWORK.items() if key != 'type'}
    torch.save({'params': NETWORKS['VapSR'](**arguments).state_dict()}, workspace / 'net.pth')
    base = {
        'name': 'small', 'model_type': 'VapSRModel', 'scale': 2, 'num_gpu': 0,
        'datasets': {'test': _dataset()}, 'network_g': SMALL_NETWORK, 'path': {'pretrain_network_g': 'net.pth'},
        'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True}}},
    }
    return lambda **changes: _write('test.yml', merged(base, changes))


def _write(name: str, options: dict[str, Any]) -> str:
    Path(name).write_text(yaml.safe_dump(options, sort_keys=False))
    return name


@pytest.fixture
def own_plugins(tmp_path: Path) -> Iterator[None]:
    """Takes back what a test imports from the current folder."""
    from tests.pipeline.plugin_helpers import plugins_forgotten
    with plugins_forgotten(tmp_path):
        yield


@pytest.fixture
def plugin_package(workspace: Path, own_plugins: None) -> Path:
    """The files that docs/extending.md shows, in the current folder: `mine`, `my_net.py`, `train.py`, `train_mine.yml`."""
    from tests.pipeline.plugin_helpers import write_documented_files
    write_documented_files(workspace)
    options = workspace / 'train_mine.yml'
    options.write_text(options.read_text().replace('datasets/photos/X2', 'datasets/photos/LR'))  # the workspace's
    return workspace


@pytest.fixture
def vapsr(capfd: pytest.CaptureFixture) -> Callable[..., Finished]:
    """Runs `vapsr ARGUMENTS` in this process."""
    def run(*arguments: str) -> Finished:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        return Finished(stop.value.code or 0, *capfd.readouterr())
    return run


@pytest.fixture
def vapsr_process() -> Callable[..., Finished]:
    """Runs `python -m vapsr_arch.MODULE ARGUMENTS` in a process of its own, in the current folder."""
    def run(module: str, *arguments: str) -> Finished:
        result = subprocess.run([sys.executable, '-m', f'vapsr_arch.{module}', *arguments], capture_output=True, text=True)
        return Finished(result.returncode, result.stdout, result.stderr)
    return run


@pytest.fixture
def vapsr_output(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Runs the command line here; gives the exit code and what it printed."""
    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return end.value.code or 0, output.out + output.err
    return run


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` with ranges; keeps the Range headers; breaks off after `server.limit` bytes, once."""

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.rpartition('/')[2])
        if content is None:
            return self.send_error(404)
        asked = self.headers.get('Range')
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.headers.get('If-Range') == self.server.etag else 0
        if asked and start >= len(content):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(content)}')
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('ETag', self.server.etag)
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        limit, self.server.limit = self.server.limit, None
        self.wfile.write(content[start:][:limit])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.ranges, server.limit, server.etag = {}, [], None, '"1"'
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
