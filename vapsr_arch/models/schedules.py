"""Optimizers and schedulers by name: torch's, and BasicSR's schedulers with restarts."""

import inspect
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from basicsr.models import lr_scheduler as basicsr_schedulers
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vapsr_arch.options.schema import BASICSR_SCHEDULERS

_FUSED = ('Adam', 'AdamW')  # computed in one kernel, which can leave out a step without the host's knowing
# What `torch.optim` has and training here has no use for.
_UNFIT = ('Optimizer', 'LBFGS', 'SparseAdam', 'Muon')  # a closure, sparse gradients, matrices
_UNFIT_SCHEDULERS = ('LRScheduler', '_LRScheduler', 'ReduceLROnPlateau', 'LambdaLR', 'MultiplicativeLR', 'SequentialLR',
                     'ChainedScheduler')  # they take a metric, functions, or other schedulers
_RATES = ('lr', 'initial_lr', 'max_lr', 'min_lr')  # of a parameter group: the learning rate, and what schedulers make it from
_BASES = ('base_lrs', 'max_lrs')  # the same of schedulers


def known_optimizers() -> dict[str, type[Optimizer]]:
    """The optimizers of `torch.optim` by name."""
    return {name: value for name, value in vars(torch.optim).items()
            if inspect.isclass(value) and issubclass(value, Optimizer) and name not in _UNFIT}


def known_schedulers() -> dict[str, type[LRScheduler]]:
    """The schedulers by name: BasicSR's, and those of `torch.optim.lr_scheduler` that are stepped without a metric."""
    own = {name: value for name, value in vars(torch.optim.lr_scheduler).items()
           if inspect.isclass(value) and issubclass(value, LRScheduler) and name not in _UNFIT_SCHEDULERS}
    own |= {name: getattr(basicsr_schedulers, name) for name in BASICSR_SCHEDULERS if name != 'MultiStepLR'}
    return own | {'MultiStepLR': basicsr_schedulers.MultiStepRestartLR}


def make_optimizer(name: str, params: Iterable[nn.Parameter] | list[dict[str, Any]], lr: float | None = None,
                   **arguments: Any) -> Optimizer:
    """An optimizer of `torch.optim`; Adam and AdamW fused into one kernel.

    Args:
        name: Its class's name.
        params: What it moves.
        lr: The learning rate; None for the class's own.
        **arguments: The class's arguments.
    """
    if lr is not None:
        arguments['lr'] = lr
    if name in _FUSED and not {'foreach', 'differentiable'} & arguments.keys():
        arguments.setdefault('fused', True)
    return known_optimizers()[name](params, **arguments)


def make_scheduler(name: str, optimizer: Optimizer, **arguments: Any) -> LRScheduler:
    """One of BasicSR's schedulers, or else one of `torch.optim.lr_scheduler`; it is stepped once an iteration.

    Args:
        name: Its class's name; MultiStepLR is BasicSR's MultiStepRestartLR.
        optimizer: Whose learning rate it sets.
        **arguments: The class's arguments.
    """
    return known_schedulers()[name](optimizer, **arguments)


def take_step(optimizer: Optimizer, bad: torch.Tensor) -> None:
    """A step of an optimizer, unless it is bad.

    A fused one leaves the weights alone by itself; any other depends on the host, which has to wait for the GPU.

    Args:
        optimizer: The optimizer.
        bad: 1 for a step that must not change the weights, else 0; a scalar on the device.
    """
    if optimizer.defaults.get('fused'):
        optimizer.found_inf = bad
        optimizer.step()
    elif not bad.item():
        optimizer.step()


def scale_rates(optimizers: list[Optimizer], schedulers: list[LRScheduler], factor: float) -> None:
    """Multiplies the learning rates, now and in the schedule to come."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.update({key: group[key] * factor for key in _RATES if key in group})
    for scheduler in schedulers:
        for name in _BASES:
            if hasattr(scheduler, name):
                setattr(scheduler, name, [rate * factor for rate in getattr(scheduler, name)])


def load_rates(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Puts an optimizer's learning rates back to those of its saved state; its other settings stay."""
    for group, saved_group in zip(optimizer.param_groups, saved['param_groups']):
        group.update({key: saved_group[key] for key in _RATES if key in saved_group})


def load_optimizer_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Puts back what an optimizer keeps of each parameter; its settings stay those of now.

    Args:
        optimizer: The optimizer.
        saved: Its `state_dict` at another time.

    Raises:
        ValueError: The state is another optimizer's, or of other parameters.
    """
    own = optimizer.state_dict()['param_groups']
    counts = [[len(group['params']) for group in groups] for groups in (saved['param_groups'], own)]
    if counts[0] != counts[1]:
        raise ValueError(f'it is of {sum(counts[0])} parameters, not {sum(counts[1])}')
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    for index, state in saved['state'].items():
        expected = _state_of(optimizer, parameters[index])
        shapes = [{key: getattr(value, 'shape', ()) for key, value in content.items() if value is not None}
                  for content in (state, expected)]
        if shapes[0] != shapes[1]:
            keys = [', '.join(sorted(content)) or 'nothing' for content in shapes]
            raise ValueError(f'it keeps {keys[0]} of a parameter of shape {tuple(parameters[index].shape)}, not {keys[1]}'
                             if keys[0] != keys[1] else f'its parameter {index} has another shape')
    optimizer.load_state_dict(saved | {'param_groups': own})


def _state_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    """What an optimizer keeps of a parameter after a step; found out on a copy."""
    other = object.__new__(type(optimizer))
    twin = torch.zeros_like(parameter, requires_grad=True)
    twin.grad = torch.zeros_like(twin)
    group = next(group for group in optimizer.param_groups if any(own is parameter for own in group['params']))
    other.__setstate__(optimizer.__getstate__() | {'state': {}, 'param_groups': [{**group, 'params': [twin]}]})
    other.state = defaultdict(dict)
    other.step()
    return other.state[twin]
