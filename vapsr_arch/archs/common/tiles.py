"""How an image is cut into tiles that a network sees with a halo: pixels around them that the result is not kept of."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

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
    window = max(tile + 2 * halo, min_size)
    if size <= window:
        return [Span(0, size, 0, size)]
    count = -(-(size - 2 * halo) // (window - 2 * halo))
    even = -(-(size + (count - 1) * 2 * halo) // count)  # as many windows can be smaller
    window = min(window, max(-(-even // _MULTIPLE) * _MULTIPLE, min_size))
    starts = [i * (size - window) // (count - 1) for i in range(count)]
    cuts = [0, *((start + window + following) // 2 for start, following in itertools.pairwise(starts)), size]
    return [Span(start, start + window, *cut) for start, cut in zip(starts, itertools.pairwise(cuts))]


def tiles(height: int, width: int, tile: int, halo: int, min_size: int = 1) -> Iterator[Tile]:
    """Cuts an image, row by row; arguments as for `spans`."""
    return itertools.starmap(Tile, itertools.product(spans(height, tile, halo, min_size), spans(width, tile, halo, min_size)))


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
