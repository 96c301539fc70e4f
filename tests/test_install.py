"""BasicSR's wheel; what setup.py and the Makefile refuse, in one sentence, before anything is downloaded."""

import importlib.util
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY, absent


def run_setup(prelude: str) -> subprocess.CompletedProcess:
    code = f'import sys, runpy; sys.argv = ["setup.py", "--version"]; {prelude}; runpy.run_path("setup.py")'
    return subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True)


def test_missing_basicsr_is_refused() -> None:
    hide = ('import importlib.util as u; find = u.find_spec; '
            'u.find_spec = lambda name, *more: None if name == "basicsr" else find(name, *more)')
    result = run_setup(hide)
    assert result.returncode == 1
    assert result.stderr.startswith('vapsr_arch is installed where BasicSR is already there')
    assert len(result.stderr.strip().splitlines()) == 1


def test_pip_without_basicsr_says_so(tmp_path: Path) -> None:
    """The build is isolated by default, which is as good as no BasicSR; pip's dependency resolution is never reached."""
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
    assert 'Python 3.10 to 3.14 is needed' in result.stderr
    assert not (tmp_path / 'venv').exists()


def wheel_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location('basicsr_wheel', REPOSITORY / 'tools/basicsr_wheel.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SETUP = """
version_file = 'version.py'

def get_version():
    with open(version_file, 'r') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']

setup(
    setup_requires=['cython', 'numpy', 'torch'],
    version=get_version())
"""


def test_the_setup_of_basicsr_is_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('version.py').write_text("__version__ = '1.4.2'")
    Path('setup.py').write_text(SETUP)
    wheel_script().correct(Path('setup.py'))
    given = {}
    exec(Path('setup.py').read_text(), {'setup': given.update})
    assert given == {'version': '1.4.2'}


def test_another_setup_is_not_corrected(tmp_path: Path) -> None:
    (tmp_path / 'setup.py').write_text('setup()')
    with pytest.raises(SystemExit, match='this is not the setup'):
        wheel_script().correct(tmp_path / 'setup.py')


def test_the_wheel_needs_setuptools(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False)
    result = subprocess.run([tmp_path / 'bin/python', REPOSITORY / 'tools/basicsr_wheel.py'], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith('pip and setuptools must be installed in ')


@pytest.mark.parametrize('required, outcome', [('triton,chromium', pytest.fail.Exception), ('chromium', pytest.skip.Exception),
                                               ('', pytest.skip.Exception)])
def test_what_must_be_there_is_not_skipped(required: str, outcome: type[BaseException],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('VAPSR_REQUIRE', required)
    with pytest.raises(outcome, match='no triton'):
        absent('triton')
