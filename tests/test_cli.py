"""The command itself: light to ask for help, in any folder, as a module for torchrun, exit codes."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished
from vapsr_arch import __version__, cli
from vapsr_arch.errors import VapsrError


@pytest.mark.parametrize('arguments', [['--help'], ['train', '--help'], ['test', '--help'], ['--version']])
def test_help_imports_neither_torch_nor_basicsr(arguments: list[str]) -> None:
    code = f'''
import sys
from vapsr_arch.cli import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{'torch', 'basicsr', 'cv2', 'numpy'}} & set(sys.modules)
assert not heavy, heavy
'''
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (__version__ if arguments == ['--version'] else 'Usage') in result.stdout


@pytest.mark.parametrize('arguments', [
    ['train'], ['train', '-opt'], ['nonsense'], ['test', '-opt', 'a.yml', '--launcher', 'x'], ['test', '-opt', 'a.yml', 'b']])
def test_bad_arguments_end_with_2(arguments: list[str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr(*arguments)
    assert result.code == 2 and 'Traceback' not in result.err


@pytest.mark.parametrize('arguments', [('data', 'lr', '~/none', 'out', '--scale', '2'), ('train', '--opt=~/none'),
                                       ('upscale', '~/none', '-o', 'out')])
def test_a_tilde_that_the_shell_left_is_the_home_folder(arguments: tuple[str, ...], vapsr: Callable[..., Finished],
                                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    assert vapsr(*arguments).err.startswith(f'Error: {tmp_path}/none: ')


@pytest.mark.parametrize(('environment', 'spins'), [({}, '10000'), ({'GOMP_SPINCOUNT': '7'}, '7'),
                                                    ({'OMP_WAIT_POLICY': 'active'}, None)])
def test_threads_sleep_soon_unless_the_environment_says_otherwise(environment: dict[str, str], spins: str | None) -> None:
    code = """
import os
from vapsr_arch.__main__ import run
try:
    run(['--version'])
finally:
    print(os.environ.get('GOMP_SPINCOUNT'))
"""
    rest = {name: value for name, value in os.environ.items() if name not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')}
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=rest | environment)
    assert result.stdout.split()[-1] == str(spins), result.stderr


INTERRUPTED = """
import importlib.abc, os, runpy, signal, sys
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits that it is ignored
sys.meta_path.insert(0, Interrupting())
sys.argv = ['vapsr', *{arguments!r}]
runpy.run_module({program!r}, run_name='__main__')
"""


@pytest.mark.parametrize(('module', 'arguments', 'program'), [
    ('typer', ['--help'], 'vapsr_arch'), ('typer', ['-opt', 'a.yml'], 'vapsr_arch.train'),
    ('vapsr_arch.options.reading', ['train', '-opt', 'a.yml'], 'vapsr_arch'),
    ('numpy', ['upscale', 'a.png', '-o', 'b.png'], 'vapsr_arch'),
    ('torch', ['weights', 'convert', 'a.pth', 'b.pth'], 'vapsr_arch')])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(module: str, arguments: list[str], program: str,
                                                              tmp_path: Path) -> None:
    """The signal comes where the module is looked for, in its importer: a KeyboardInterrupt there must come through."""
    (tmp_path / 'a.png').touch()
    code = INTERRUPTED.format(module=module, arguments=arguments, program=program)
    result = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, cwd=tmp_path)
    assert 'Traceback' not in result.stderr, result.stderr
    assert result.returncode in (-signal.SIGINT, 128 + signal.SIGINT), (result.returncode, result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']


def test_train_then_test_as_a_module(train_options: Callable[..., str], test_options: Callable[..., str],
                                    vapsr: Callable[..., Finished], vapsr_process: Callable[..., Finished]) -> None:
    """`vapsr_arch.train` is run as a module in tests of several processes, by torchrun."""
    result = vapsr('train', '-opt', train_options())
    assert result.code == 0, result.err
    weights = 'experiments/small/models/net_g_latest.pth'
    result = vapsr_process('test', '-opt', test_options(path={'pretrain_network_g': weights}))
    assert result.code == 0, result.err
    assert 'VapSR: all tensors loaded from experiments/small/models/net_g_latest.pth, key params_ema' in result.err
    assert Path('results/small/photos.csv').is_file()


def test_errors_of_a_process_are_one_line(test_options: Callable[..., str], vapsr_process: Callable[..., Finished]) -> None:
    result = vapsr_process('test', '-opt', 'none.yml')
    assert (result.code, result.err) == (2, 'Error: none.yml: the option file cannot be read: No such file or directory\n')


@pytest.mark.parametrize('number, named', [(errno.ENOSPC, 'copy.yml'), (errno.EACCES, 'a.yml')])
def test_a_full_disk_is_reported_for_the_copy(number: int, named: str, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture) -> None:
    def copy(*arguments: object, **more: object) -> None:
        raise OSError(number, os.strerror(number), 'a.yml', None, 'copy.yml')

    monkeypatch.setattr(cli, 'app', copy)
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert (stop.value.code, capsys.readouterr().err) == (1, f'Error: {named}: {os.strerror(number)}\n')


def test_a_library_that_the_system_lacks_is_named(monkeypatch: pytest.MonkeyPatch, vapsr: Callable[..., Finished]) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ImportError('libxcb.so.1: cannot open shared object file: No such file or directory')

    monkeypatch.setattr(cli, 'app', fail)
    result = vapsr('test')
    assert result.code == 1 and result.err.startswith('Error: this system has no libxcb.so.1, ') and 'libxcb1' in result.err


def test_error_of_a_worker_is_its_sentence() -> None:
    text = 'Caught VapsrError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\n' \
           'vapsr_arch.errors.VapsrError: a.png cannot be decoded\n'
    assert str(VapsrError(text)) == 'a.png cannot be decoded'
    assert str(VapsrError('a.png cannot be decoded')) == 'a.png cannot be decoded'
