"""What the tests of training share: things that happen at a chosen iteration, what a run left, a training state."""

import itertools
import math
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vapsr_arch.models.optimization import FastSRModel
from vapsr_arch.models.training_state import random_state
from vapsr_arch.models.vapsr_model import VapSRModel

RUN = Path('experiments/small')


def network(label: int | str = 'latest') -> bytes:
    return (RUN / f'models/net_g_{label}.pth').read_bytes()


def states() -> list[str]:
    return sorted(path.name for path in (RUN / 'training_states').iterdir())


def at_iterations(monkeypatch: pytest.MonkeyPatch, iterations: Iterable[int],
                  change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Changes the losses of some iterations of the runs in this process, before their gradients are taken."""
    forward, optimize = FastSRModel.compute_losses, FastSRModel.optimize_parameters
    current = 0

    def note(model: FastSRModel, current_iter: int) -> None:
        nonlocal current
        current = current_iter
        optimize(model, current_iter)

    def changed(model: FastSRModel, *batch: Tensor) -> dict[str, Tensor]:
        losses = forward(model, *batch)
        return change(losses) if current in iterations else losses

    monkeypatch.setattr(FastSRModel, 'optimize_parameters', note)
    monkeypatch.setattr(FastSRModel, 'compute_losses', changed)


def signal_at(monkeypatch: pytest.MonkeyPatch, iteration: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Sends a signal to this process in the middle of an iteration, once."""
    sent = []

    def send(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return losses
    at_iterations(monkeypatch, [iteration], send)


def signal_at_image(monkeypatch: pytest.MonkeyPatch, image: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Sends a signal to this process before it upscales an image for validation, counted over all validations from 1."""
    upscale, images = VapSRModel._upscale, itertools.count(1)

    def send(model: VapSRModel, data: dict) -> tuple:
        if next(images) == image:
            os.kill(os.getpid(), number)
        return upscale(model, data)
    monkeypatch.setattr(VapSRModel, '_upscale', send)


def state_of_a_run(**changes: Any) -> dict[str, Any]:
    """A state as the model saves it, with other sections; None leaves one out."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(2)
    optimizer.step()
    guard = {'lr_scale': 1.0, 'skipped': 0, 'rollbacks': 0, 'streak': 0, 'threshold': math.inf, 'losses': [0.1], 'unread': []}
    state = {'epoch': 0, 'iter': 3, 'optimizers': [optimizer.state_dict()], 'schedulers': [{'last_epoch': 3}],
             'random': [random_state([])], 'scaler': {}, 'guard': guard, 'best_metrics': {}, 'options': {}, 'good_iter': 2}
    return {key: value for key, value in (state | changes).items() if value is not None}
