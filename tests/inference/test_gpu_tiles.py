"""Tiles on a GPU: what one takes is measured, with its halo, and the largest that fits is taken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import photograph
from vapsr_arch.inference import gpu_tiles
from vapsr_arch.inference.gpu_tiles import Use, fitting_tile
from vapsr_arch.inference.upscaler import Upscaler, _quantised


@pytest.mark.parametrize(('free', 'halo', 'tile'), [(2 * 300**2, 0, 300), (2 * 300**2, 48, 204), (2 * 9000**2, 48, 928),
                                                    (2, 48, 16)])
def test_a_tile_with_its_halo_fits(free: int, halo: int, tile: int) -> None:
    assert fitting_tile(Use(taken=100 * 100, free=free), 100 * 100, halo, 16) == tile


@pytest.fixture
def on_gpu(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Use | Exception], Upscaler]:
    """Makes an Upscaler on the CPU that takes itself for one on a GPU, with a given memory."""
    monkeypatch.setattr(Upscaler, '_device', lambda self: torch.device('cuda'))

    def measured(use: Use | Exception) -> Upscaler:
        def run_and_tell(run: Callable[[], object], device: torch.device) -> Use:
            run()
            if isinstance(use, Exception):
                raise use
            return use
        monkeypatch.setattr(gpu_tiles, 'measured', run_and_tell)
        return Upscaler(tiny_weights, device='cpu')
    return measured


def test_the_first_tile_tells_what_others_take(on_gpu: Callable[[Use], Upscaler], tiny_weights: Path) -> None:
    window = (gpu_tiles.FIRST_TILE + 2 * 12) ** 2
    upscaler = on_gpu(Use(taken=window, free=2 * 100**2))
    small = photograph(40, 50, 0)
    upscaler(small)
    assert upscaler._tile is None  # it fits into a first tile: nothing was measured
    image = photograph(160, 190, 0)
    result = upscaler(image)
    assert upscaler._tile == 100 - 2 * 12
    assert np.abs(result.astype(int) - Upscaler(tiny_weights, device='cpu', tile=300)(image)).max() <= 1


def test_a_first_tile_without_memory_is_halved(on_gpu: Callable[[Exception], Upscaler]) -> None:
    upscaler = on_gpu(torch.OutOfMemoryError('CUDA out of memory.'))
    assert upscaler(photograph(160, 190, 0)).shape == (320, 380, 3)
    assert upscaler._tile == gpu_tiles.FIRST_TILE // 2


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_results_are_rounded_as_numpy_does(dtype: type) -> None:
    full = np.iinfo(dtype).max
    values = torch.cat([torch.linspace(-0.1, 1.1, 70001), (torch.arange(full + 1) + 0.5) / full])
    expected = values.clamp(0, 1).mul(full).round().numpy().astype(dtype)
    got = _quantised(values, np.dtype(dtype))
    assert got.dtype == dtype and np.array_equal(got, expected)
