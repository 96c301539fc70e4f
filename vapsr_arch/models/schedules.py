"""Optimizers and schedulers by name: torch's, and BasicSR's schedulers with restarts."""

from collections.abc import Iterable
from typing import Any

import torch
from basicsr.models import lr_scheduler as basicsr_schedulers
from torch import nn

from vapsr_arch.options.schema import BASICSR_SCHEDULERS

_FUSED = ('Adam', 'AdamW', 'SGD', 'Adagrad')  # those that torch computes in one kernel on every device


def make_optimizer(name: str, params: Iterable[nn.Parameter] | list[dict[str, Any]], lr: float | None = None,
                   **arguments: Any) -> torch.optim.Optimizer:
    """An optimizer of `torch.optim`, fused into one kernel where torch can.

    Args:
        name: Its class's name.
        params: What it moves.
        lr: The learning rate; None for the class's own.
        **arguments: The class's arguments.
    """
    if lr is not None:
        arguments['lr'] = lr
    if name in _FUSED:
        arguments.setdefault('fused', True)
    return getattr(torch.optim, name)(params, **arguments)


def make_scheduler(name: str, optimizer: torch.optim.Optimizer, **arguments: Any) -> torch.optim.lr_scheduler.LRScheduler:
    """One of BasicSR's schedulers, or else one of `torch.optim.lr_scheduler`; it is stepped once an iteration.

    Args:
        name: Its class's name; MultiStepLR is BasicSR's MultiStepRestartLR.
        optimizer: Whose learning rate it sets.
        **arguments: The class's arguments.
    """
    if name == 'MultiStepLR':
        name = 'MultiStepRestartLR'
    owner = basicsr_schedulers if name in BASICSR_SCHEDULERS else torch.optim.lr_scheduler
    return getattr(owner, name)(optimizer, **arguments)
