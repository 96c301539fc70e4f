"""Training that is killed, stopped, or has no room to write, for real: in processes of its own."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.models import training_process
from tests.models.training_helpers import RUN, at_iterations, network, signal_at, signal_at_image, states
from tests.models.training_process import together

LOG = Path('log.txt')


def finished(*arguments: str) -> str:
    """Trains to the end; returns what was printed."""
    process = training_process.start(*arguments, log=LOG)
    process.join()
    assert process.exitcode == 0, LOG.read_text()
    return LOG.read_text()


def test_killed_five_times_ends_with_the_same_bytes(train_options: Callable[..., str]) -> None:
    """At random times, many of them within the saving of every iteration; the PSNR that counts is the first."""
    arguments = '-opt', train_options(
        train={'total_iter': 8}, val={'val_freq': 4, 'metrics': {'psnr': {'better': 'lower'}}},
        logger={'save_checkpoint_freq': 1, 'keep_last': 2},
        datasets={'train': {'dataset_enlarge_ratio': 5}})
    finished(*arguments)
    undisturbed = network(), network('best_psnr')
    begin = time.monotonic()
    finished(*arguments)  # the same twice; the first run waited for imports
    duration = time.monotonic() - begin
    assert (network(), network('best_psnr')) == undisturbed
    shutil.rmtree(RUN)
    times, kills = random.Random(0), 0
    while kills < 5:
        process = training_process.start(*arguments, '--auto_resume', log=LOG)
        process.join(times.uniform(0.1, 0.8) * duration)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:  # begin again
            assert process.exitcode == 0, LOG.read_text()
            assert (network(), network('best_psnr')) == undisturbed
            shutil.rmtree(RUN)
    finished(*arguments, '--auto_resume')
    assert (network(), network('best_psnr')) == undisturbed
    assert states() == ['7.state', '8.state'] and not list(RUN.rglob('.*'))


def killed_at_the_sixth_image() -> None:
    signal_at_image(pytest.MonkeyPatch(), 6, signal.SIGKILL)


def test_a_validation_that_was_killed_is_made_up_for(train_options: Callable[..., str]) -> None:
    """In the second of two sets of four images; the PSNR that counts is the first."""
    data = {'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR', 'dataroot_lq': 'datasets/photos/LR',
            'io_backend': {'type': 'disk'}}
    arguments = '-opt', train_options(
        train={'total_iter': 3}, val={'val_freq': 2, 'metrics': {'psnr': {'better': 'lower'}}},
        datasets={'val': data | {'name': 'a'}, 'val_1': data | {'name': 'b'}})
    names = 'best_psnr_a', 'best_psnr_b'
    finished(*arguments)
    undisturbed = [network(name) for name in names]
    process = training_process.start(*arguments, log=LOG, before=killed_at_the_sixth_image)
    process.join()
    assert process.exitcode == -signal.SIGKILL and network('best_psnr_a') == undisturbed[0]
    log = finished(*arguments, '--auto_resume')
    assert [log.count(f'Validation {name}') for name in 'ab'] == [1, 2]
    assert [network(name) for name in names] == undisturbed


@pytest.mark.parametrize('number, workers', [(signal.SIGTERM, 2), (signal.SIGINT, 4)])
def test_a_signal_to_all_processes_saves_and_is_resumed(number: signal.Signals, workers: int,
                                                        train_options: Callable[..., str]) -> None:
    """As from Slurm, or a terminal: the workers get it too, and first. Workers change nothing in the result."""
    def arguments(num_worker: int) -> tuple[str, ...]:
        return '-opt', train_options(train={'total_iter': 60}, logger={'save_checkpoint_freq': 25}, datasets={
            'train': {'dataset_enlarge_ratio': 60, 'num_worker_per_gpu': num_worker}})

    finished(*arguments(0))
    undisturbed = network()
    process = training_process.start(*arguments(workers), log=LOG)
    training_process.wait_for_line(process, LOG, 'l_pix')
    children = training_process.children(process)
    assert len(children) == workers
    for child in children:
        os.kill(child, number)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number, LOG.read_text()
    iteration = max(int(state.removesuffix('.state')) for state in states())
    assert f'after iteration {iteration}; resume with --auto_resume' in LOG.read_text()
    assert f'iter: {iteration}.' in finished(*arguments(workers), '--auto_resume')
    assert network() == undisturbed


def test_a_second_signal_stops_at_once(train_options: Callable[..., str]) -> None:
    process = training_process.start('-opt', train_options(train={'total_iter': 100_000}), log=LOG)
    training_process.wait_for_line(process, LOG, 'l_pix')
    training_process.pause(process)  # both signals arrive before it does anything
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert process.exitcode in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert 'Stopped by a signal' not in LOG.read_text()


def no_room_from_iteration_three_on() -> None:
    """Files cannot get larger than the half of a checkpoint."""
    def limit(losses: dict) -> dict:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        return losses
    at_iterations(pytest.MonkeyPatch(), [3], limit)


def test_a_full_disk_ends_training(train_options: Callable[..., str]) -> None:
    arguments = '-opt', train_options(train={'total_iter': 5}, logger={'print_freq': 100})
    finished(*arguments)
    undisturbed = network()
    process = training_process.start(*arguments, log=LOG, before=no_room_from_iteration_three_on)
    process.join()
    assert process.exitcode == 1
    assert LOG.read_text().splitlines()[-1].endswith(
        'models/net_g_4.pth cannot be written: File too large; what was saved before is whole: fix this and resume with '
        '--auto_resume')
    assert states() == ['2.state'] and [path.name for path in (RUN / 'models').iterdir()] == ['net_g_2.pth']
    assert 'iter: 2.' in finished(*arguments, '--auto_resume')
    assert network() == undisturbed


def test_a_truncated_state_is_skipped(train_options: Callable[..., str]) -> None:
    arguments = '-opt', train_options(train={'total_iter': 4}, logger={'save_checkpoint_freq': 1})
    finished(*arguments)
    undisturbed = network()
    newest = RUN / 'training_states/4.state'
    os.truncate(newest, newest.stat().st_size // 2)
    (RUN / 'models/net_g_latest.pth').unlink()
    log = finished(*arguments, '--auto_resume')
    assert '4.state is skipped: ' in log and 'iter: 3.' in log
    assert network() == undisturbed


def test_two_processes_stop_and_resume_together(train_options: Callable[..., str]) -> None:
    """One of them receives the signal."""
    arguments = '-opt', train_options(train={'total_iter': 30}, logger={'save_checkpoint_freq': 12}, datasets={
        'train': {'batch_size_per_gpu': 1, 'dataset_enlarge_ratio': 3}})
    together(*arguments)
    undisturbed = network()
    (_, log), (second, _) = processes = training_process.start_two(*arguments)
    training_process.wait_for_line(processes[0][0], log, 'l_pix')
    os.kill(second.pid, signal.SIGTERM)
    for process, _ in processes:
        process.join()
        assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    assert 'Stopped by a signal' in log.read_text()
    together(*arguments, '--auto_resume')
    assert network() == undisturbed


def stopped_in_the_last_validation() -> None:
    if os.environ['RANK'] == '1':
        signal_at_image(pytest.MonkeyPatch(), 3)


def test_two_processes_leave_a_validation_together(train_options: Callable[..., str]) -> None:
    """One of them receives the signal, at its first image in the second of two validations."""
    arguments = '-opt', train_options(val={'val_freq': 2}, datasets={'train': {'batch_size_per_gpu': 1}})
    processes = training_process.start_two(*arguments, before=stopped_in_the_last_validation)
    for process, log in processes:
        process.join()
        assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    assert 'All 3 iterations are done and saved; a signal stopped the validation' in processes[0][1].read_text()
    assert together(*arguments, '--auto_resume')[0].count('# psnr') == 1


def nan_in_the_second_process() -> None:
    if os.environ['RANK'] == '1':
        at_iterations(pytest.MonkeyPatch(), [2], lambda losses: {name: loss * torch.nan for name, loss in losses.items()})


def test_two_processes_skip_together(train_options: Callable[..., str]) -> None:
    arguments = '-opt', train_options(logger={'save_checkpoint_freq': 1}, datasets={'train': {'batch_size_per_gpu': 1}})
    assert 'Iteration 2: the loss is nan; steps skipped: 1' in together(*arguments, before=nan_in_the_second_process)[0]
    saved = [torch.load(RUN / f'models/net_g_{iteration}.pth')['params'] for iteration in (1, 2, 3)]
    same = [all(torch.equal(before[name], after[name]) for name in before) for before, after in pairwise(saved)]
    assert same == [True, False]


def stopped_in_the_first_iteration() -> None:
    signal_at(pytest.MonkeyPatch(), 1)


def test_a_dry_run_that_is_stopped_keeps_nothing(train_options: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / 'temporary').mkdir()
    process = training_process.start('-opt', train_options(), '--dry-run', log=LOG, before=stopped_in_the_first_iteration,
                                     TMPDIR=str(tmp_path / 'temporary'))
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, LOG.read_text()
    assert not list((tmp_path / 'temporary').glob('vapsr-*')) and not Path('experiments').exists()


def test_a_worker_that_is_killed_is_named(train_options: Callable[..., str]) -> None:
    options = train_options(train={'total_iter': 100_000}, datasets={
        'train': {'dataset_enlarge_ratio': 50, 'num_worker_per_gpu': 1}})
    process = training_process.start('-opt', options, log=LOG)
    training_process.wait_for_line(process, LOG, 'l_pix')
    os.kill(training_process.children(process)[0], signal.SIGKILL)
    process.join()
    assert process.exitcode == 1
    assert 'Error: a process that reads images was killed' in LOG.read_text().splitlines()[-1]


def test_two_processes_train_a_network_that_is_frozen_in_part(train_options: Callable[..., str]) -> None:
    """They do not wait for gradients that never come."""
    log = together('-opt', train_options(train={'freeze': ['body.*']}, dist_params={'backend': 'gloo'},
                                         datasets={'train': {'batch_size_per_gpu': 1}}))[0]
    assert 'train.freeze: ' in log and 'iter 3/3, ' in log


def test_two_processes_train_a_gan(train_options: Callable[..., str]) -> None:
    adam = {'type': 'Adam', 'lr': 1e-4}
    log = together('-opt', train_options(
        model_type='ESRGANModel', network_d={'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        train={'optim_d': adam, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}},
        datasets={'train': {'batch_size_per_gpu': 1}}))[0]
    assert 'iter 3/3, l_' in log and log.count('ESRGANModel is not a VapSRModel') == 1
