"""What a training state holds beyond BasicSR's: the random states, and the options that the run was made with."""

import os
import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import NoneType
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


# The sections of a training state, and what each is: BasicSR's, and those that this package adds, all or none.
_BASICSR_SECTIONS = {'epoch': int, 'iter': int, 'optimizers': list, 'schedulers': list}
_OWN_SECTIONS = {'random': list, 'scaler': dict, 'guard': dict, 'best_metrics': dict, 'options': dict, 'good_iter': int}
_LATER_SECTIONS = {'position': int, 'validated': list, 'networks': dict}  # which states did not always have
_GUARD = {'lr_scale': float, 'skipped': int, 'rollbacks': int, 'streak': int, 'threshold': float, 'losses': list, 'unread': list}


def fault_of_state(state: Any) -> str | None:
    """What is wrong with a training state, of this package or of BasicSR: a section that is missing or of another kind; or None.

    Args:
        state: What its file holds.
    """
    if not isinstance(state, dict):
        return 'it has no sections'
    own = _OWN_SECTIONS if 'random' in state or 'guard' in state else {}
    later = {key: kind for key, kind in _LATER_SECTIONS.items() if key in state}
    wrong = _wrong(state, _BASICSR_SECTIONS | own | later) or _wrong_optimization(state)
    if wrong or not own:
        return wrong
    guard = {key: (int, float) if kind is float else kind for key, kind in _GUARD.items()}
    if _wrong(state['guard'], guard) or not _numbers(state['guard']['losses']) or not all(
            isinstance(row, list) and len(row) == 3 and _numbers(row) for row in state['guard']['unread']):
        return 'its section guard is damaged'
    if not all(isinstance(record, dict) and all(isinstance(best, dict) and {'val', 'iter'} <= best.keys()
                                                for best in record.values()) for record in state['best_metrics'].values()):
        return 'its section best_metrics is damaged'
    if not all(isinstance(weights, dict) and all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
               for weights in state.get('networks', {}).values()):
        return 'its section networks is damaged'
    if not all(isinstance(name, str) for name in (*state.get('validated', ()), *state['options'])):
        return 'its section validated or options is damaged'
    return None if all(map(_is_random_state, state['random'])) else 'its section random is damaged'


def _wrong(section: dict[str, Any], kinds: Mapping[str, Any]) -> str | None:
    """The first key that is missing or of another kind; numbers are not negative."""
    for key, kind in kinds.items():
        value = section.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and value < 0):
            return f'its section {key} is {"damaged" if key in section else "missing"}'
    return None


def _wrong_optimization(state: dict[str, Any]) -> str | None:
    for optimizer in state['optimizers']:
        if not isinstance(optimizer, dict) or _wrong(optimizer, {'state': dict, 'param_groups': list}):
            return 'its section optimizers is damaged'
        groups = optimizer['param_groups']
        if not all(isinstance(group, dict) and isinstance(group.get('params'), list) for group in groups):
            return 'its section optimizers is damaged'
        count = sum(len(group['params']) for group in groups)
        if not all(type(index) is int and 0 <= index < count and isinstance(kept, dict)
                   and all(isinstance(value, torch.Tensor | int | float | NoneType) for value in kept.values())
                   for index, kept in optimizer['state'].items()) or not all(
                isinstance(group.get('lr', 0.0), int | float | torch.Tensor) for group in groups):
            return 'its section optimizers is damaged'
    if not all(isinstance(scheduler, dict) and isinstance(scheduler.get('last_epoch', 0), int)
               and isinstance(scheduler.get('base_lrs', []), list) for scheduler in state['schedulers']):
        return 'its section schedulers is damaged'
    return None


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _is_random_state(state: Any) -> bool:
    """Whether a `random_state` can be put back; tried on random numbers that nobody draws."""
    try:
        random.Random().setstate(state['python'])
        np.random.RandomState().set_state(state['numpy'])
        torch.Generator().set_state(state['torch'])
        return all(isinstance(one, torch.Tensor) and one.dtype == torch.uint8 for one in state['cuda'])
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return False


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
