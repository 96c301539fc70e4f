"""Tiles: every pixel kept once, with its halo, from windows of one size."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vapsr_arch.archs.common.tiles import spans, tiles


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


def test_tiles_cover_an_image() -> None:
    covered = np.zeros((50, 90), int)
    for tile in tiles(50, 90, 16, 4):
        covered[tile.rows.first:tile.rows.last, tile.columns.first:tile.columns.last] += 1
    assert (covered == 1).all()
    assert sum(tile.area for tile in tiles(50, 90, 16, 4)) == 50 * 90
