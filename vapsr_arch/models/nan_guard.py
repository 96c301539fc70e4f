"""Guards a training run against losses and gradients that are not finite, and losses far above those before."""

import math
from collections import deque
from statistics import median
from typing import Any

import torch
from torch import Tensor

from vapsr_arch.errors import VapsrError

_WINDOW = 100  # losses that the running median is taken over
_ENOUGH = 20  # losses before it is used


class NanGuard:
    """Judges every step, without waiting for the device, and counts the bad ones when it reads its judgements back.

    Args:
        options: The section `train.nan_guard`; `vapsr_arch.options.schema` says what its keys mean.

    Attributes:
        patience: Bad steps in a row after which training has diverged.
        lr_factor: What the learning rate is multiplied with then.
        lr_scale: The product of these factors so far.
        skipped: Bad steps so far.
        rollbacks: How often training has diverged so far.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.patience = options.get('patience', 10)
        self.lr_factor = options.get('lr_factor', 0.5)
        self.max_rollbacks = options.get('max_rollbacks', 3)
        self.spike_factor = options.get('spike_factor', 10)
        self.lr_scale = 1.0
        self.skipped = self.rollbacks = 0
        self._streak = 0
        self._threshold = math.inf
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._unread: list[Tensor] = []

    @property
    def calm(self) -> bool:
        """Whether the last step that was read was good."""
        return self._streak == 0

    @property
    def diverged(self) -> bool:
        """Whether as many bad steps as `patience` allows have come in a row."""
        return self._streak >= self.patience

    def judge(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """Says whether a step may change the weights.

        Args:
            loss: The sum of an iteration's losses, the mean over the processes; a scalar on the device, as the next.
            grad_norm: The norm of its gradients.

        Returns:
            1 for a bad step, 0 for a good one: a scalar on the device, float32.
        """
        good = loss.isfinite() & grad_norm.isfinite() & (loss <= self._threshold)
        self._unread.append(torch.stack([loss.float(), grad_norm.float(), good.float()]))
        return 1 - good.float()

    def read(self) -> str | None:
        """Reads the judgements back and counts the bad steps; returns what was wrong with the last of them."""
        fault = None
        for loss, grad_norm, good in self._read_back():
            if good:
                self._streak = 0
                self._losses.append(loss)
                continue
            self._streak += 1
            self.skipped += 1
            if not math.isfinite(loss):
                fault = f'the loss is {loss}'
            elif not math.isfinite(grad_norm):
                fault = f'the norm of the gradients is {grad_norm}'
            else:
                fault = f'the loss, {loss:.3g}, is far above its running median, {median(self._losses):.3g}'
        self._unread.clear()
        if len(self._losses) >= _ENOUGH:
            middle = median(self._losses)
            self._threshold = middle * self.spike_factor if middle > 0 else math.inf
        return fault

    def _read_back(self) -> list[list[float]]:
        return [row.tolist() for row in self._unread]

    def roll_back(self, reason: str) -> None:
        """Counts a divergence.

        Raises:
            VapsrError: It is one too many.
        """
        if self.rollbacks == self.max_rollbacks:
            raise VapsrError(f'training diverges: {reason}, after {self.rollbacks} rollbacks that multiplied the learning '
                             f'rate with {self.lr_scale:g} in all: lower train.optim_g.lr, clip gradients with '
                             f'train.grad_clip_norm, or look for damaged images')
        self.rollbacks += 1
        self.lr_scale *= self.lr_factor
        self._streak = 0
        self._unread.clear()

    def state_dict(self) -> dict[str, Any]:
        """What the guard knows, for a training state."""
        return {'lr_scale': self.lr_scale, 'skipped': self.skipped, 'rollbacks': self.rollbacks, 'streak': self._streak,
                'threshold': self._threshold, 'losses': list(self._losses), 'unread': self._read_back()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The way back from `state_dict`."""
        self.lr_scale, self.skipped, self.rollbacks = state['lr_scale'], state['skipped'], state['rollbacks']
        self._streak, self._threshold = state['streak'], state['threshold']
        self._losses.extend(state['losses'])
        self._unread = [torch.tensor(row) for row in state['unread']]

    def forget_losses(self) -> None:
        """For losses to come that cannot be compared with those before."""
        self._losses.clear()
        self._threshold = math.inf
