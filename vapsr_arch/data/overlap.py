"""Which images are parts of test images, pixel for pixel, wherever they were cut out.

Of an image's rows some windows of pixels are chosen by their content alone, so that a crop has the windows of its image that
lie within it. Every row of a test image is indexed; of an image that is looked up, at most 40 rows are enough.
"""

from collections.abc import Sequence

import numpy as np

_WIDTH = 16  # pixels of a window, a power of 2
_CHOSEN_BITS = 5  # one window in 32 is chosen
_ROWS = 40
_FEWEST = 8  # windows that distinguish an image from others; a plain one has none
_MULTIPLIER = 0x9E3779B97F4A7C15


def chosen_windows(image: np.ndarray, every_row: bool) -> np.ndarray:
    """The chosen windows of an image by their hashes.

    Args:
        image: H x W x 3, uint8.
        every_row: Of all rows, for an image that is searched; of some, for one that is looked up.

    Returns:
        uint64, in order, without repetitions.
    """
    step = 1 if every_row else -(-image.shape[0] // _ROWS)
    rows = image[::step]
    if rows.shape[1] < _WIDTH:
        return np.empty(0, np.uint64)
    pixels = (rows.astype(np.uint32) << np.array([0, 8, 16], np.uint32)).sum(2, dtype=np.uint64)
    differs = pixels[:, :1 - _WIDTH] != pixels[:, _WIDTH - 1:]  # plain areas are alike in many images
    # The polynomial of a window in _MULTIPLIER, modulo 2^64, of the polynomials of its halves.
    hashes, width = pixels * np.uint64(_MULTIPLIER), 1
    while width < _WIDTH:
        power = np.uint64(pow(_MULTIPLIER, width, 2**64))
        hashes, width = hashes[:, :-width] * power + hashes[:, width:], 2 * width
    return np.unique(hashes[differs & (hashes >> np.uint64(64 - _CHOSEN_BITS) == 0)])


class PartIndex:
    """Some images' windows, to look up which of them another image is a part of.

    Args:
        windows: Of each image, from all of its rows.
    """

    def __init__(self, windows: Sequence[np.ndarray]) -> None:
        hashes = np.concatenate([np.empty(0, np.uint64), *windows])
        order = hashes.argsort(kind='stable')
        self.hashes = hashes[order]
        self.owners = np.repeat(np.arange(len(windows)), [len(each) for each in windows])[order]

    def containing(self, windows: np.ndarray) -> set[int]:
        """The positions of the images that have all windows of another, which it must have some of."""
        first, last = (np.searchsorted(self.hashes, windows, side) for side in ('left', 'right'))
        if len(windows) < _FEWEST or (first == last).any():
            return set()
        return set.intersection(*(set(self.owners[start:end].tolist()) for start, end in zip(first, last)))
