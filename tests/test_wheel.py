"""The package as it is installed: what a wheel holds suffices, without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY

NEEDED = ('setup.py', 'pyproject.toml', 'README.md', 'vapsr_arch', 'experiments/pretrained_models')


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel of this package installs."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in NEEDED:  # a copy, because setuptools leaves a build folder behind
        source, target = REPOSITORY / name, folder / 'source' / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-index',
                    '--no-build-isolation', '--wheel-dir', folder, folder / 'source'], check=True)
    wheel, = folder.glob('*.whl')
    zipfile.ZipFile(wheel).extractall(folder / 'site')
    return folder / 'site'


def test_it_has_every_source(site: Path) -> None:
    tracked = {path.relative_to(REPOSITORY) for path in REPOSITORY.glob('vapsr_arch/**/*')
               if path.is_file() and path.suffix != '.pyc'}
    assert tracked - {path.relative_to(site) for path in site.glob('vapsr_arch/**/*')} == set()


def test_it_upscales_an_image_with_the_shipped_weights(site: Path, tmp_path: Path) -> None:
    Image.new('RGB', (8, 6), 'red').save(tmp_path / 'small.png')
    command = 'import vapsr_arch, sys; print(vapsr_arch.__file__); from vapsr_arch.cli import main; main()'
    done = subprocess.run([sys.executable, '-c', command, 'upscale', 'small.png', '-o', 'large.png'], cwd=tmp_path,
                          env=os.environ | {'PYTHONPATH': str(site)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site)) and Image.open(tmp_path / 'large.png').size == (32, 24)
