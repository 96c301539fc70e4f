"""What a training state holds beyond BasicSR's: the random states, and the options that the run was made with."""

import os
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch

# Keys that do not change what is learnt.
_WITHOUT_EFFECT = {
    'datasets.train': ('name', 'phase', 'scale', 'num_worker_per_gpu', 'prefetch_mode', 'num_prefetch_queue', 'pin_memory',
                       'persistent_workers', 'use_shuffle'),
    'train': ('nan_guard', 'compile'),
}
_SCHEDULE = ('train.optim_', 'train.scheduler.', 'train.warmup_iter')
_END = 'train.total_iter'  # says when to stop: named where it changes, and nothing follows from it


def random_state(devices: list[int]) -> dict[str, Any]:
    """The states of all random numbers of this process, in types that can be loaded without running code.

    Args:
        devices: The GPUs that it works on.
    """
    name, keys, *rest = np.random.get_state()
    return {'python': random.getstate(), 'numpy': (name, keys.tolist(), *rest), 'torch': torch.get_rng_state(),
            'cuda': [torch.cuda.get_rng_state(device) for device in devices]}


def set_random_state(state: dict[str, Any], devices: list[int]) -> None:
    """Puts the random numbers back to a `random_state`."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'])
    for device, cuda_state in zip(devices, state['cuda']):
        torch.cuda.set_rng_state(cuda_state, device)


def be_deterministic() -> None:
    """Has torch choose algorithms whose results do not change from run to run, and end in an error where it knows none."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # cuBLAS reads it at its first use
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # basicsr/train.py:101 sets it


def deciding_options(opt: dict[str, Any]) -> dict[str, Any]:
    """The options that decide what a run learns, in a copy by their full names, such as `train.optim_g.lr`."""
    sections = {'scale': opt['scale'], 'manual_seed': opt['manual_seed'], 'processes': opt['world_size'],
                'network_g': opt['network_g']}
    for section, values in (('datasets.train', opt['datasets']['train']), ('train', opt['train'])):
        sections[section] = {key: value for key, value in values.items() if key not in _WITHOUT_EFFECT[section]}
    return dict(_flat(deepcopy(sections)))


def _flat(section: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{key}.')
        else:
            yield prefix + key, value


def changed_options(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two `deciding_options`, as `train.optim_g.lr: 0.001 -> 0.0005`."""
    before = {_END: now[_END], **before} if _END in now else before  # states did not always have it
    keys = [*before, *(key for key in now if key not in before)]
    return [f'{key}: {before.get(key, "not set")} -> {now.get(key, "not set")}' for key in keys
            if before.get(key) != now.get(key)]


def is_schedule(change: str) -> bool:
    """Whether one of `changed_options` concerns the optimizer or its learning rate."""
    return change.startswith(_SCHEDULE)


def changes_losses(change: str) -> bool:
    """Whether losses before and after one of `changed_options` cannot be compared."""
    return not change.startswith(_END)
