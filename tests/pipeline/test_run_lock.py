"""One run of a name at a time: in processes of their own, as two shells would start them."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished
from tests.models import training_process
from vapsr_arch.errors import VapsrError
from vapsr_arch.pipeline.run_lock import run_lock

LOCK = Path('experiments/.small.lock')


def test_a_second_run_of_a_name_is_refused(train_options: Callable[..., str], test_options: Callable[..., str],
                                           vapsr: Callable[..., Finished]) -> None:
    """And a test, and a run of another name, are not."""
    options = train_options(train={'total_iter': 100_000})
    first = training_process.start('-opt', options, log=Path('first.txt'))
    training_process.wait_for_line(first, Path('first.txt'), 'l_pix')
    before = sorted(Path().rglob('*small*'))
    second = vapsr('train', '-opt', options)
    assert (second.code, second.err.splitlines()[-1]) == (1, (
        f'Error: experiments/small: process {first.pid} on {socket.gethostname()} is at work there: wait until it has ended, or '
        f'give this run another name (`name` in the option file)'))
    assert sorted(Path().rglob('*small*')) == before
    assert vapsr('train', '-opt', options, '--auto_resume').code == 1
    assert vapsr('train', '-opt', train_options(name='other')).code == 0
    assert vapsr('test', '-opt', test_options()).code == 0
    os.kill(first.pid, signal.SIGTERM)
    first.join()
    assert first.exitcode == 128 + signal.SIGTERM and not LOCK.exists()
    assert vapsr('train', '-opt', train_options(), '--auto_resume').code == 1  # its state is beyond total_iter


def test_of_two_starts_at_once_one_trains(train_options: Callable[..., str]) -> None:
    options = train_options(train={'total_iter': 100_000})
    logs = [Path('first.txt'), Path('second.txt')]
    processes = [training_process.start('-opt', options, log=log) for log in logs]
    while all(process.is_alive() for process in processes):
        processes[0].join(0.02)
    refused = 0 if processes[1].is_alive() else 1
    trains, log = processes[1 - refused], logs[1 - refused]
    training_process.wait_for_line(trains, log, 'l_pix')
    os.kill(trains.pid, signal.SIGTERM)
    for process in processes:
        process.join()
    assert processes[refused].exitcode == 1 and 'is at work there' in logs[refused].read_text()
    assert trains.exitcode == 128 + signal.SIGTERM
    assert [path.name for path in Path('experiments').iterdir()] == ['small']


def test_a_run_that_was_killed_stops_nobody(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """Its workers, which outlive it for some seconds, do not either."""
    data = {'dataset_enlarge_ratio': 1000, 'num_worker_per_gpu': 1}
    process = training_process.start('-opt', train_options(train={'total_iter': 100_000}, datasets={'train': data}),
                                     log=Path('log.txt'))
    training_process.wait_for_line(process, Path('log.txt'), 'l_pix')
    worker, = training_process.children(process)
    os.kill(worker, signal.SIGSTOP)  # it does not see that its parent is gone
    process.kill()
    process.join()
    assert LOCK.is_file()
    try:
        assert vapsr('train', '-opt', train_options()).code == 0
    finally:
        os.kill(worker, signal.SIGKILL)
    assert not LOCK.exists()


@pytest.mark.parametrize('left', ['', '1 elsewhere\n', '99999999 ' + socket.gethostname(), 'nonsense'])
def test_a_file_that_is_left_behind_stops_nobody(left: str, tmp_path: Path) -> None:
    path = tmp_path / '.small.lock'
    path.write_text(left)
    with run_lock(tmp_path, 'small'):
        assert path.read_text() == f'{os.getpid()} {socket.gethostname()}\n'
    assert not path.exists() and tmp_path.is_dir()


def test_a_folder_of_its_own_is_left_only_with_something_in_it(tmp_path: Path) -> None:
    folder = tmp_path / 'experiments'
    with run_lock(folder, 'small'):
        assert folder.is_dir()
    assert not folder.exists()
    with run_lock(folder, 'small'):
        (folder / 'small').mkdir()
    assert [path.name for path in folder.iterdir()] == ['small']


def test_where_no_run_can_be_kept(tmp_path: Path, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    (tmp_path / 'experiments').write_text('a file')
    result = vapsr('train', '-opt', train_options())
    assert (result.code, result.err.splitlines()[-1]) == (1, 'Error: experiments: no run can be kept there: File exists')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VapsrError, match='no run can be kept there: Permission denied'), run_lock(tmp_path, 'small'):
        pass


@pytest.mark.parametrize('command', ['train', 'test'])
def test_torchrun_without_the_launcher(command: str, train_options: Callable[..., str], test_options: Callable[..., str],
                                       vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its processes would train on its own, in the same folder."""
    for name, value in {'TORCHELASTIC_RUN_ID': 'none', 'WORLD_SIZE': '2', 'RANK': '0'}.items():
        monkeypatch.setenv(name, value)
    options = train_options() if command == 'train' else test_options()
    before = sorted(Path().rglob('*'))
    result = vapsr(command, '-opt', options)
    assert result.code == 2 and sorted(Path().rglob('*')) == before
    assert result.err.splitlines()[-1] == (
        'Error: torchrun has started 2 processes: add `--launcher pytorch`, by which they work together')
