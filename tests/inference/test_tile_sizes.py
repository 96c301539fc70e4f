"""Sizes of tiles: what a window takes of the memory is measured, and the largest that fits is taken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import photograph
from vapsr_arch import memory
from vapsr_arch.archs.common.tiles import Tile
from vapsr_arch.inference import tile_sizes
from vapsr_arch.inference.tile_sizes import Use, fitting_window
from vapsr_arch.inference.upscaler import Upscaler, _quantised


@pytest.mark.parametrize(('free', 'side'), [(2 * 300**2, 256), (2 * 9000**2, 2048), (2 * 50**2, 50), (0, 0)])
def test_windows_take_half_of_the_free_memory_at_most(free: int, side: int) -> None:
    assert fitting_window(Use(taken=100 * 100, free=free), 100 * 100, torch.device('cuda')) == side


def test_windows_take_so_much_of_a_cpu_that_programs_beside_have_some() -> None:
    use = Use(taken=1000 * 100 * 100, free=64 * 2**30)
    assert fitting_window(use, 100 * 100, torch.device('cpu')) == 1216  # 1216**2 * 1000 bytes are 1.38 GiB
    assert fitting_window(use, 100 * 100, torch.device('cuda')) == 2048


def seen(tile: Tile) -> tuple[int, int]:
    """Height and width of what the network sees."""
    return tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start


def area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


@pytest.fixture
def with_memory(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Upscaler]:
    """Makes an Upscaler on the CPU that finds a window to take a byte a pixel, and a given memory free, or an error raised."""
    def make(free: int | Exception, device: str = 'cuda') -> Upscaler:
        monkeypatch.setattr(Upscaler, '_device', lambda self: torch.device(device))

        def run_and_report(run: Callable[[], object], device: torch.device) -> Use:
            run()
            if isinstance(free, Exception):
                raise free
            return Use(taken=tile_sizes.MEASURED ** 2, free=free)
        monkeypatch.setattr(tile_sizes, 'measured', run_and_report)
        return Upscaler(tiny_weights, device='cpu')
    return make


def test_the_first_window_shows_what_others_take(with_memory: Callable[..., Upscaler], tiny_weights: Path) -> None:
    upscaler = with_memory(2 * 128**2)
    upscaler(photograph(40, 50, 0))
    assert upscaler._window is None  # it fits into the window that would be measured: nothing was
    image = photograph(230, 240, 0)
    result = upscaler(image)
    assert upscaler._window == 128
    found = upscaler._tiles_for(image)
    assert len(found) > 1 and all(area(seen(part)) <= 128**2 for part in found)
    assert np.abs(result.astype(int) - Upscaler(tiny_weights, device='cpu', tile=300)(image)).max() <= 1


@pytest.mark.parametrize(('shape', 'count'), [((256, 256), 1), ((225, 290), 1), ((256, 257), 2), ((224, 540), 2)])
def test_what_fits_is_one_window_whatever_its_shape(shape: tuple[int, int], count: int,
                                                    with_memory: Callable[..., Upscaler]) -> None:
    found = with_memory(2 * 256**2)._tiles_for(photograph(*shape, 0))
    assert len(found) == count and all(area(seen(part)) <= 256**2 for part in found)


def test_a_first_window_without_memory_is_halved(with_memory: Callable[..., Upscaler]) -> None:
    upscaler = with_memory(torch.OutOfMemoryError('CUDA out of memory.'))
    assert upscaler(photograph(230, 240, 0)).shape == (460, 480, 3)
    assert upscaler._tile == tile_sizes.MEASURED // 2


def test_a_cpu_has_its_memory_measured(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_sizes, 'available_memory', lambda: 2**26)
    upscaler = Upscaler(tiny_weights, device='cpu')
    upscaler(photograph(481, 480, 0))
    if memory.CLEAR_REFS.exists():
        # Of every pixel at least the input and the result are there, in float32.
        assert 0 < upscaler._window <= (2**25 / (4 * 3 * (1 + 2**2))) ** 0.5
    else:
        assert upscaler._window == tile_sizes.UNMEASURED['cpu']


def test_without_a_measure_windows_stay_small(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, 'CLEAR_REFS', tmp_path / 'absent')
    upscaler = Upscaler(tiny_weights, device='cpu')
    found = upscaler._tiles_for(photograph(481, 480, 0))
    assert len(found) == 2 and all(area(seen(part)) < tile_sizes.UNMEASURED['cpu'] ** 2 for part in found)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_results_are_rounded_as_numpy_does(dtype: type) -> None:
    full = np.iinfo(dtype).max
    values = torch.cat([torch.linspace(-0.1, 1.1, 70001), (torch.arange(full + 1) + 0.5) / full])
    expected = values.clamp(0, 1).mul(full).round().numpy().astype(dtype)
    got = _quantised(values, np.dtype(dtype))
    assert got.dtype == dtype and np.array_equal(got, expected)
