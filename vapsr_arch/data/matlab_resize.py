"""MATLAB's bicubic `imresize` of 8- and 16-bit images, to the bit.

The definition, as MATLAB (R2016b and later) computes it: a cubic kernel with a = -0.5 (R. G. Keys, "Cubic Convolution
Interpolation for Digital Image Processing", IEEE TASSP 29(6), 1981), widened by the inverse of the scale when the image
shrinks; weights normalised to a sum of 1; in double precision; one dimension after the other, the result rounded and
clipped to the image's integer type after each. Outside the image lies its mirror image (symmetric); MATLAB before R2016b
repeated the last row and column instead (replicate).
"""

import functools
import math

import numpy as np

BORDERS = ('symmetric', 'replicate')


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic interpolation kernel with a = -0.5; zero outside (-2, 2)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _taps(size: int, out_size: int, scale: float, border: str) -> tuple[np.ndarray, np.ndarray]:
    """Which samples make each output sample: indices and weights, both out_size x taps."""
    stretch = max(1.0, 1.0 / scale)  # > 1: the kernel is widened against aliasing
    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    first = np.floor(centre - 2 * stretch).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(4 * stretch) + 1)
    weight = cubic((centre[:, None] - index) / stretch)
    weight /= weight.sum(axis=1, keepdims=True)
    used = weight.any(axis=0)
    index, weight = index[:, used], weight[:, used]
    if border == 'symmetric':
        index = np.mod(index, 2 * size)
        index = np.where(index < size, index, 2 * size - 1 - index)
    else:
        index = np.clip(index, 0, size - 1)
    return index, weight


def _resize_rows(image: np.ndarray, out_size: int, scale: float, border: str) -> np.ndarray:
    """Resizes the first dimension; rounds halves up and clips to the image's integer type."""
    index, weight = _taps(image.shape[0], out_size, scale, border)
    flat = image.reshape(image.shape[0], -1)
    total = np.zeros((out_size, flat.shape[1]))
    for tap in range(index.shape[1]):
        total += weight[:, tap, None] * flat[index[:, tap]]
    limit = np.iinfo(image.dtype).max
    return np.floor(np.clip(total, 0, limit) + 0.5).astype(image.dtype).reshape(out_size, *image.shape[1:])


def imresize(image: np.ndarray, scale: float, border: str = 'symmetric') -> np.ndarray:
    """Resizes an image as MATLAB's `imresize(image, scale)` does.

    Args:
        image: H x W or H x W x C, uint8 or uint16; the order of the channels does not matter.
        scale: Output size over input size, above 0: 1 / 4 makes the LR image of x4, 4 enlarges four times.
        border: 'symmetric' as in today's MATLAB, or 'replicate' as before R2016b.

    Returns:
        ceil(scale H) x ceil(scale W) (x C), of the image's type.

    Raises:
        ValueError: The image's type or dimensions, the scale or the border is none of the above.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f'imresize: an H x W (x C) image of uint8 or uint16 is needed, not {image.dtype} of shape '
                         f'{image.shape}')
    if not scale > 0:
        raise ValueError(f'imresize: scale must be above 0, not {scale!r}')
    if border not in BORDERS:
        raise ValueError(f'imresize: border must be one of {", ".join(BORDERS)}, not {border!r}')
    # A relative 1e-12 keeps 9 * (1 / 3) at 3 output samples.
    height, width = (math.ceil(size * scale * (1 - 1e-12)) for size in image.shape[:2])
    rows = _resize_rows(image, height, scale, border)
    return _resize_rows(rows.swapaxes(0, 1), width, scale, border).swapaxes(0, 1).copy()


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cuts the bottom and the right so that height and width are multiples of `scale`; H x W (x C), a view."""
    return image[:image.shape[0] - image.shape[0] % scale, :image.shape[1] - image.shape[1] % scale]
