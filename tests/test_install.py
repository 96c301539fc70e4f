"""What setup.py and the Makefile refuse, in one sentence, before anything is downloaded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def run_setup(prelude: str) -> subprocess.CompletedProcess:
    code = f'import sys, runpy; sys.argv = ["setup.py", "--version"]; {prelude}; runpy.run_path("setup.py")'
    return subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True)


def test_python_3_13_is_refused() -> None:
    pretend = ('import collections, setuptools; '
               'version = collections.namedtuple("Version", "major minor micro level serial"); '
               'sys.version_info = version(3, 13, 0, "final", 0)')
    result = run_setup(pretend)
    assert result.returncode == 1
    assert result.stderr.strip() == ('vapsr_arch needs Python 3.10 to 3.12: BasicSR 1.4.2 cannot be built on 3.13 and later.')


def test_missing_torch_is_refused() -> None:
    hide = ('import importlib.util as u; find = u.find_spec; '
            'u.find_spec = lambda name, *more: None if name == "torch" else find(name, *more)')
    result = run_setup(hide)
    assert result.returncode == 1
    assert result.stderr.startswith('vapsr_arch is installed where torch is already there')
    assert len(result.stderr.strip().splitlines()) == 1


def test_pip_without_torch_says_so(tmp_path: Path) -> None:
    """The build is isolated by default, which is as good as no torch; pip's dependency resolution is never reached."""
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '-d', tmp_path, 'setuptools']
    setuptools = subprocess.run(command, capture_output=True)
    if setuptools.returncode:
        pytest.skip('pip cannot reach setuptools')
    result = subprocess.run([sys.executable, '-m', 'pip', 'install', '--dry-run', '--no-deps', '.'], cwd=REPOSITORY,
                            capture_output=True, text=True)
    assert result.returncode == 1
    assert 'is already there, and not in an isolated build' in result.stdout + result.stderr


@pytest.mark.skipif(shutil.which('make') is None, reason='no make')
def test_make_refuses_a_wrong_python(tmp_path: Path) -> None:
    (tmp_path / 'python').write_text(f'#!/bin/sh\nexec {sys.executable} -c "raise SystemExit(1)"\n')
    (tmp_path / 'python').chmod(0o755)
    result = subprocess.run(['make', 'install', f'PYTHON={tmp_path}/python', f'VENV={tmp_path}/venv'], cwd=REPOSITORY,
                            capture_output=True, text=True)
    assert result.returncode == 2
    assert 'Python 3.10, 3.11 or 3.12 is needed (BasicSR 1.4.2 cannot be built on 3.13 and later)' in result.stderr
    assert not (tmp_path / 'venv').exists()
