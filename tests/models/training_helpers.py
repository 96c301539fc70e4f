"""What the tests of training share: things that happen at a chosen iteration, and what a run left."""

import itertools
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from torch import Tensor

from vapsr_arch.models.optimization import FastSRModel
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
