"""Training and testing with several processes: how they meet, which device each takes, how they end together."""

import gc
import os
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from vapsr_arch.errors import OptionsError, VapsrError

DEFAULT_PORT = 29500
DEFAULT_TIMEOUT = 300  # seconds


def _from_slurm(port: int | None) -> dict[str, str]:
    """torchrun's variables from those of `srun`."""
    missing = [name for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NODELIST') if name not in os.environ]
    if missing or not shutil.which('scontrol'):
        raise OptionsError(f'--launcher slurm: {missing[0] if missing else "scontrol"} is not there; start with `srun python '
                           f'-m vapsr_arch.train ...` in a job of Slurm')
    hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True, text=True)
    if hosts.returncode or not hosts.stdout:
        raise VapsrError(f'--launcher slurm: scontrol does not name the hosts of this job: {hosts.stderr.strip()}')
    return {'RANK': os.environ['SLURM_PROCID'], 'WORLD_SIZE': os.environ['SLURM_NTASKS'],
            'LOCAL_RANK': os.environ['SLURM_LOCALID'], 'MASTER_ADDR': hosts.stdout.split()[0],
            'MASTER_PORT': str(port or os.environ.get('MASTER_PORT', DEFAULT_PORT))}


def own_rank(launcher: str) -> int:
    """This process's number among those that a launcher has started, before they meet.

    Raises:
        OptionsError: torchrun has started several, and the command does not say so: each would train on its own.
    """
    if launcher == 'none':
        if 'TORCHELASTIC_RUN_ID' in os.environ and os.environ.get('WORLD_SIZE', '1') != '1':
            raise OptionsError(f'torchrun has started {os.environ["WORLD_SIZE"]} processes: add `--launcher pytorch`, by which '
                               f'they work together')
        return 0
    return int(os.environ.get('SLURM_PROCID' if launcher == 'slurm' else 'RANK', '0'))


def init_dist(launcher: str, on_gpu: bool, port: int | None = None, timeout: int = DEFAULT_TIMEOUT) -> None:
    """Joins this process to the others: with NCCL, a GPU for each, or with Gloo on CPUs.

    basicsr/utils/dist_util.py:24 divides by the number of GPUs, and takes NCCL on a CPU too; on Slurm it takes the rank
    for the number of the process on its machine.

    Args:
        launcher: `pytorch` for torchrun, `slurm` for srun.
        on_gpu: Whether the network is on GPUs.
        port: Where the process of rank 0 listens, on Slurm.
        timeout: Seconds that a process waits for another one.

    Raises:
        OptionsError: The processes were not started by the launcher, or there is no GPU for this one.
        VapsrError: The processes do not meet.
    """
    if launcher == 'slurm':
        os.environ.update(_from_slurm(port))
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT') if name not in os.environ]
    if missing:
        raise OptionsError(f'--launcher {launcher}: {missing[0]} is not set; start with `torchrun --nproc_per_node=N -m '
                           f'vapsr_arch.train ...`')
    if os.environ.get('TORCHELASTIC_MAX_RESTARTS', '0') != '0' and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True':
        # Processes that are started again would read in torchrun's store where the dead ones listened.
        raise OptionsError('torchrun --max-restarts: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, without which the '
                           'processes do not meet again')
    if on_gpu:
        local_rank, present = int(os.environ['LOCAL_RANK']), torch.cuda.device_count()
        own_gpu_alone = launcher == 'slurm' and present == 1  # as `srun --gpus-per-task=1` shows it
        if local_rank >= present and not own_gpu_alone:
            raise OptionsError(f'--launcher {launcher}: {local_rank + 1} processes or more on this machine, but torch finds '
                               f'{present} CUDA GPUs: start as many processes as there are GPUs, or set num_gpu: 0')
        device = torch.device('cuda', 0 if own_gpu_alone else local_rank)
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group('nccl' if on_gpu else 'gloo', timeout=timedelta(seconds=timeout),
                                       device_id=device if on_gpu else None)
    except (RuntimeError, ValueError) as error:
        raise VapsrError(f'the {os.environ["WORLD_SIZE"]} processes do not meet at {os.environ["MASTER_ADDR"]}:'
                         f'{os.environ["MASTER_PORT"]}: {str(error).splitlines()[0]}') from None


@contextmanager
def together() -> Iterator[None]:
    """Leaves the other processes in order at the end.

    Raises:
        VapsrError: Another process has ended or does not answer.
    """
    try:
        yield
    except BaseException as error:
        if distributed.is_initialized() and distributed.get_backend() == 'gloo':
            _leave_gloo(error)  # NCCL would wait for the others
        if isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and 'gloo' in str(error).lower()):
            raise VapsrError(f'another process of this run has ended or does not answer; its own output says why: '
                             f'{str(error).splitlines()[0]}') from None
        raise
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _leave_gloo(error: BaseException) -> None:
    """Ends Gloo's threads, which need Python's lock to free tensors.

    As long as the error's traceback keeps the network, that keeps the group. At the end of the process the group would wait for
    its threads with the lock held, and they for the lock; or, without it, they abort the process (SIGABRT).
    """
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    distributed.destroy_process_group()
