"""Several processes: the samples, losses and figures of one; how they meet and how they end."""

import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.models import training_process
from tests.models.training_process import together
from tests.pipeline.dying import die_in_third_call, spoil_rank_1_and_keep_weights
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.pipeline import processes as distributed

# A plugin for torchrun: rank 0 dies in iteration 3 when it is started first.
DYING = """
import os
from tests.pipeline.dying import die_in_third_call
if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':
    die_in_third_call(0, 'optimize_parameters')
"""
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'}


def torchrun(*arguments: str) -> str:
    """Runs two processes to their end, as torchrun starts them; returns what they have printed to stderr."""
    result = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', *arguments,
                             '--launcher', 'pytorch'], env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    return result.stderr


def losses(name: str) -> list[float]:
    log, = Path('experiments', name).glob('train_*.log')
    return [float(value) for value in re.findall(r'l_pix ([\d.e+-]+)', log.read_text())]


def test_two_processes_train_as_one(train_options: Callable[..., str], vapsr: Callable) -> None:
    def options(name: str, batch: int, accumulate: int) -> str:
        data = {'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': 3, 'num_worker_per_gpu': 1}
        train = {'total_iter': 5, 'ema_decay': 0, 'accumulate': accumulate}
        return train_options(name=name, datasets={'train': data}, train=train)

    assert vapsr('train', '-opt', options('one', 4, 1)).code == 0
    together('-opt', options('two', 2, 2))
    assert len(losses('one')) == 5 and losses('two') == pytest.approx(losses('one'), abs=1e-5)
    one, two = (torch.load(f'experiments/{name}/models/net_g_latest.pth')['params'] for name in ('one', 'two'))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=0)


def test_two_processes_share_a_test(test_options: Callable[..., str], vapsr: Callable) -> None:
    assert vapsr('test', '-opt', test_options(name='one')).code == 0
    logs = together('-opt', test_options(name='two', val={'save_img': True}), command='test')
    assert Path('results/two/photos.csv').read_bytes() == Path('results/one/photos.csv').read_bytes()
    assert len(list(Path('results/two/visualization/photos').iterdir())) == 4
    mean, = re.findall('# psnr: .*', ''.join(logs))  # by rank 0 alone
    log, = Path('results/one').glob('*.log')
    assert mean in log.read_text()


@pytest.mark.parametrize('dying, method', [(1, 'optimize_parameters'), (0, 'optimize_parameters'), (0, 'save'), (1, '_upscale')])
def test_a_process_that_dies_ends_the_others(dying: int, method: str, train_options: Callable[..., str]) -> None:
    """Between iterations, before saving, in a validation; rank 0 is where the processes meet."""
    options = train_options(train={'total_iter': 100000}, val={'val_freq': 2})
    processes = training_process.start_two('-opt', options, before=functools.partial(die_in_third_call, dying, method))
    (died, _), (other, log) = processes[dying], processes[1 - dying]
    try:
        died.join(120)
        other.join(60)
    finally:
        for process, _ in processes:
            process.kill()
    assert died.exitcode == -signal.SIGKILL and other.exitcode == 1, log.read_text()
    assert 'Error: another process of this run has ended or does not answer' in log.read_text().splitlines()[-1]


@pytest.mark.parametrize('error, raised', [
    (RuntimeError('[gloo/transport/tcp/pair.cc:547] Connection closed by peer'), VapsrError),
    (RuntimeError('something else'), RuntimeError), (SystemExit(143), SystemExit)])
def test_the_group_is_left_before_the_process_ends(error: BaseException, raised: type, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1',
                        'MASTER_PORT': '0'}.items():
        monkeypatch.setenv(name, value)
    distributed.init_dist('pytorch', on_gpu=False)
    with pytest.raises(raised), distributed.together():
        raise error
    assert not torch.distributed.is_initialized()


def test_torchrun_starts_again_and_resumes(train_options: Callable[..., str]) -> None:
    """A process dies in iteration 3."""
    changes = {'train': {'total_iter': 4}, 'val': {'val_freq': 3}}
    together('-opt', train_options(name='undisturbed', **changes))
    Path('dying.py').write_text(DYING)
    err = torchrun('--max-restarts=1', '-m', 'vapsr_arch.train', '-opt', train_options(plugins=['dying.py'], **changes),
                   '--auto_resume')
    assert re.findall(r'Resuming training from epoch: \d, iter: (\d)\.', err) == ['2']
    resumed, undisturbed = (Path(f'experiments/{name}/models/net_g_latest.pth') for name in ('small', 'undisturbed'))
    assert resumed.read_bytes() == undisturbed.read_bytes()


def test_two_processes_go_back_together(train_options: Callable[..., str]) -> None:
    options = train_options(train={'total_iter': 7, 'nan_guard': {'patience': 2}})
    log, _ = together('-opt', options, before=spoil_rank_1_and_keep_weights)
    assert log.count('Back to the weights of iteration 2, with the learning rate lowered to 5.000e-04') == 1
    weights = {(rank, iteration): torch.load(f'rank{rank}_{iteration}.pth') for rank in (0, 1) for iteration in (2, 5, 7)}
    for iteration in (2, 5, 7):
        for name, weight in weights[0, iteration].items():
            assert weight.isfinite().all() and torch.equal(weight, weights[1, iteration][name])
    name = 'conv_first.weight'
    assert torch.equal(weights[0, 5][name], weights[0, 2][name]) and not torch.equal(weights[0, 7][name], weights[0, 2][name])


def test_processes_not_started_by_the_launcher(train_options: Callable[..., str], vapsr: Callable,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    result = vapsr('train', '-opt', train_options(), '--launcher', 'pytorch')
    assert result.code == 2
    assert result.err.endswith('Error: --launcher pytorch: RANK is not set; start with `torchrun --nproc_per_node=N -m '
                               'vapsr_arch.train ...`\n')
    with pytest.raises(OptionsError, match='--launcher slurm: SLURM_PROCID is not there; start with `srun python'):
        distributed.init_dist('slurm', on_gpu=False)


def test_restarts_need_a_store_of_their_own(train_options: Callable[..., str], vapsr: Callable,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {'RANK': '0', 'WORLD_SIZE': '1', 'LOCAL_RANK': '0', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '1',
                        'TORCHELASTIC_MAX_RESTARTS': '1', 'TORCHELASTIC_USE_AGENT_STORE': 'True'}.items():
        monkeypatch.setenv(name, value)
    result = vapsr('train', '-opt', train_options(), '--launcher', 'pytorch')
    assert result.code == 2 and 'set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun' in result.err


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the fourth of four tasks, the second on its machine."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[3-4]" ] && printf "node3\\nnode4\\n"\n')
    scontrol.chmod(0o755)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'none')  # so that monkeypatch takes away what is set over it
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for name, value in {'PROCID': '3', 'NTASKS': '4', 'LOCALID': '1', 'NODELIST': 'node[3-4]'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)


@pytest.mark.parametrize('visible, gpu', [(2, 1), (1, 0)])
def test_slurm(visible: int, gpu: int, slurm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    monkeypatch.setattr(torch.distributed, 'init_process_group',
                        lambda backend, timeout, device_id: met.append((backend, timeout.seconds, device_id)))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: visible)
    monkeypatch.setattr(torch.cuda, 'set_device', met.append)
    distributed.init_dist('slurm', on_gpu=True, port=1234, timeout=7)
    device = torch.device('cuda', gpu)
    assert met == [device, ('nccl', 7, device)]
    meeting = [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')]
    assert meeting == ['3', '4', '1', 'node3', '1234']


def test_slurm_without_its_hosts(slurm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_NODELIST', 'elsewhere')
    with pytest.raises(VapsrError, match='scontrol does not name the hosts of this job'):
        distributed.init_dist('slurm', on_gpu=False)


def test_more_processes_than_gpus(slurm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_LOCALID', '2')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(OptionsError, match='3 processes or more on this machine, but torch finds 2 CUDA GPUs'):
        distributed.init_dist('slurm', on_gpu=True)


def test_processes_that_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = {'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '1'}
    for name, value in meeting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VapsrError, match='the 2 processes do not meet at localhost:1: '):
        distributed.init_dist('pytorch', on_gpu=False, timeout=1)
