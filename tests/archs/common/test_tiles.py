"""Tiles: every pixel kept once, with its halo, from windows of one size."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vapsr_arch.archs.common.tiles import SMALLEST, Tile, spans, tiles, tiles_of_area, upscaled_in_tiles


@given(size=st.integers(1, 700), tile=st.integers(1, 200), halo=st.integers(0, 60), min_size=st.sampled_from((1, 15)))
def test_every_pixel_is_kept_once_with_its_halo(size: int, tile: int, halo: int, min_size: int) -> None:
    found = spans(size, tile, halo, min_size)
    assert found[0].first == 0 and found[-1].last == size
    assert all(one.last == following.first for one, following in itertools.pairwise(found))
    for span in found:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= size
        assert span.start == 0 or span.first - span.start >= halo
        assert span.stop == size or span.stop - span.last >= halo


@given(size=st.integers(1, 700), tile=st.integers(1, 200), halo=st.integers(0, 60), min_size=st.sampled_from((1, 15)))
def test_windows_are_of_one_size_within_the_limits(size: int, tile: int, halo: int, min_size: int) -> None:
    window, = {span.stop - span.start for span in spans(size, tile, halo, min_size)}
    assert min(size, min_size) <= window <= max(tile + 2 * halo, min_size)


def test_windows_are_no_larger_than_their_number_needs() -> None:
    assert [span.stop - span.start for span in spans(320, 192, 32)] == [192, 192]


@pytest.mark.parametrize('found', [tiles(50, 90, 16, 4), tiles_of_area(50, 90, 700, 4)], ids=['side', 'area'])
def test_tiles_cover_an_image(found: list[Tile]) -> None:
    covered = np.zeros((50, 90), int)
    for tile in found:
        covered[tile.rows.first:tile.rows.last, tile.columns.first:tile.columns.last] += 1
    assert len(found) > 1 and (covered == 1).all()
    assert sum(tile.area for tile in found) == 50 * 90


def seen(tile: Tile) -> int:
    """Pixels that the network sees."""
    return (tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start)


@given(height=st.integers(1, 700), width=st.integers(1, 700), side=st.integers(1, 400), halo=st.integers(0, 60))
def test_windows_of_an_area_see_no_more_than_squares_do(height: int, width: int, side: int, halo: int) -> None:
    side = max(side, SMALLEST + 2 * halo)
    found = tiles_of_area(height, width, side**2, halo)
    assert all(seen(tile) <= side**2 for tile in found)
    rounding = sum(16 * (tile.rows.stop - tile.rows.start) for tile in found)  # of their widths
    assert sum(map(seen, found)) <= sum(map(seen, tiles(height, width, (side - 2 * halo) // 16 * 16, halo))) + rounding


def test_the_windows_of_an_area_may_be_wide() -> None:
    assert len(tiles_of_area(3000, 4000, 1536**2, 48)) == 6 and len(tiles(3000, 4000, 1536 - 2 * 48, 48)) == 9


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), tile=st.integers(4, 20))
def test_tiles_make_what_the_whole_image_does(height: int, width: int, tile: int) -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        """Looks two pixels far, and upscales by 3."""
        return F.avg_pool2d(x, 5, 1, 2).repeat_interleave(3, 2).repeat_interleave(3, 3)
    image = torch.rand(2, 3, height, width, dtype=torch.float64)
    torch.testing.assert_close(upscaled_in_tiles(network, image, tile, halo=2), network(image))
