"""Engines: what runs a network on tiles of an image."""

import os
from typing import Protocol

import torch
from torch import Tensor

from vapsr_arch.checkpoints import build_network
from vapsr_arch.errors import VapsrError


class Engine(Protocol):
    """A network ready to run. Calling it is thread-safe."""

    scale: int
    num_in_ch: int
    min_size: int
    halo: int | None

    def __call__(self, x: Tensor) -> Tensor: ...


class TorchEngine:
    """A network on the CPU, fp32."""

    def __init__(self, path: str | os.PathLike, scale: int | None = None) -> None:
        self._network = build_network(path, scale)
        self.scale, self.num_in_ch = self._network.scale, self._network.num_in_ch
        self.min_size, self.halo = self._network.min_size, self._network.halo

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        return self._network(x)


def load_engine(weights: str | os.PathLike, *, scale: int | None = None, device: str = 'auto', precision: str = 'fp32',
                engine: str = 'torch') -> Engine:
    if (precision, engine) != ('fp32', 'torch') or device == 'cuda':
        raise VapsrError('only fp32 on the CPU with torch is there as yet')
    return TorchEngine(weights, scale)
