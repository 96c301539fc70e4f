"""How an image is cut into tiles that a network sees with a halo: pixels around them that the result is not kept of."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

SMALLEST = 16  # pixels of a tile's side: with a halo around it, smaller ones save no memory
_MULTIPLE = 16  # windows have sides of a multiple of it where they can, so that images of many sizes have windows of a few


class Span(NamedTuple):
    """A tile along one side of an image, in LR pixels, ends exclusive."""

    start: int  # what the network sees
    stop: int
    first: int  # what is kept of its result
    last: int


class Tile(NamedTuple):
    rows: Span
    columns: Span

    @property
    def area(self) -> int:
        """The pixels that are kept."""
        return (self.rows.last - self.rows.first) * (self.columns.last - self.columns.first)


def spans(size: int, tile: int, halo: int, min_size: int = 1) -> list[Span]:
    """Cuts one side of an image.

    What is kept has at least `halo` pixels on either side in what the network sees, but for the image's own border: there
    the network pads as it pads a whole image. The network sees equally many pixels of every tile.

    Args:
        size: Pixels of the side.
        tile: Pixels to keep of a tile's result, at most; those at the border keep up to `halo` more.
        halo: Pixels to see on either side.
        min_size: Pixels that the network must see.
    """
    count, window = _windows(size, tile, halo, min_size)
    if count == 1:
        return [Span(0, size, 0, size)]
    starts = [i * (size - window) // (count - 1) for i in range(count)]
    cuts = [0, *((start + window + following) // 2 for start, following in itertools.pairwise(starts)), size]
    return [Span(start, start + window, *cut) for start, cut in zip(starts, itertools.pairwise(cuts))]


def _windows(size: int, tile: int, halo: int, min_size: int) -> tuple[int, int]:
    """How many windows a side has, and how many pixels each; arguments as for `spans`."""
    window = max(tile + 2 * halo, min_size)
    if size <= window:
        return 1, size
    count = -(-(size - 2 * halo) // (window - 2 * halo))
    even = -(-(size + (count - 1) * 2 * halo) // count)  # as many windows can be smaller
    return count, min(window, max(-(-even // _MULTIPLE) * _MULTIPLE, min_size))


def tiles(height: int, width: int, tile: int, halo: int, min_size: int = 1) -> list[Tile]:
    """Cuts an image, row by row; arguments as for `spans`."""
    return _tiles(spans(height, tile, halo, min_size), spans(width, tile, halo, min_size))


def tiles_of_area(height: int, width: int, area: int, halo: int, min_size: int = 1) -> list[Tile]:
    """Cuts an image, row by row, so that the network sees as few pixels as windows of an area allow.

    Args:
        height: Pixels of the image.
        width: Pixels of the image.
        area: Pixels of a window, at most; more only where tiles of `SMALLEST` pixels a side, or `min_size`, ask for it.
        halo: As for `spans`.
        min_size: As for `spans`.
    """
    found = []
    for tall in range(SMALLEST, height + SMALLEST, SMALLEST):
        rows, window_height = _windows(height, tall, halo, min_size)
        most = area // window_height
        if most >= min(width, SMALLEST + 2 * halo):
            columns, window_width = _windows(width, most - 2 * halo, halo, min_size)
            found.append((rows * window_height * columns * window_width, tall, most - 2 * halo))
    _, tall, wide = min(found, default=(0, SMALLEST, SMALLEST))
    return _tiles(spans(height, tall, halo, min_size), spans(width, wide, halo, min_size))


def _tiles(rows: list[Span], columns: list[Span]) -> list[Tile]:
    return list(itertools.starmap(Tile, itertools.product(rows, columns)))


def upscaled_in_tiles(network: Callable[[Tensor], Tensor], x: Tensor, tile: int, halo: int, min_size: int = 1) -> Tensor:
    """A network's result for an image, computed tile by tile.

    Args:
        network: Takes N x C x H x W, returns N x C x sH x sW.
        x: The image, N x C x H x W.
        tile, halo, min_size: As for `spans`. With all the pixels that the network looks at as the halo the result is that of
            the whole image, but for the rounding of floats.
    """
    result = None
    for rows, columns in tiles(*x.shape[2:], tile, halo, min_size):
        window = network(x[:, :, rows.start:rows.stop, columns.start:columns.stop])
        scale = window.shape[2] // (rows.stop - rows.start)
        if result is None:
            result = window.new_empty(*window.shape[:2], x.shape[2] * scale, x.shape[3] * scale)
        kept = [slice((span.first - span.start) * scale, (span.last - span.start) * scale) for span in (rows, columns)]
        place = [slice(span.first * scale, span.last * scale) for span in (rows, columns)]
        result[:, :, place[0], place[1]] = window[:, :, kept[0], kept[1]]
    return result
