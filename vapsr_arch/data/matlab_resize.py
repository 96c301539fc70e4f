"""MATLAB's bicubic `imresize` of 8- and 16-bit images, to the bit.

The definition, as MATLAB (R2016b and later) computes it: a cubic kernel with a = -0.5 (R. G. Keys, "Cubic Convolution
Interpolation for Digital Image Processing", IEEE TASSP 29(6), 1981), widened by the inverse of the scale when the image
shrinks; weights normalised to a sum of 1; in double precision; one dimension after the other, the result rounded and
clipped to the image's integer type after each. Outside the image lies its mirror image (symmetric); MATLAB before R2016b
repeated the last row and column instead (replicate).
"""

import functools
import math
from collections.abc import Iterable

import cv2
import numpy as np

BORDERS = ('symmetric', 'replicate')
_BLOCK = 4  # output rows that one matrix product makes
_STRIP = 16  # output rows at a time


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic interpolation kernel with a = -0.5; zero outside (-2, 2)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _inside(index: np.ndarray, size: int, border: str) -> np.ndarray:
    """The rows of an image of `size` rows that stand for rows anywhere."""
    if border == 'replicate':
        return np.clip(index, 0, size - 1)
    index = np.mod(index, 2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


@functools.lru_cache(maxsize=64)
def _taps(size: int, out_size: int, scale: float, border: str) -> tuple[np.ndarray, np.ndarray]:
    """Which samples make each output sample: indices and weights, both taps x out_size."""
    stretch = max(1.0, 1.0 / scale)  # > 1: the kernel is widened against aliasing
    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    first = np.floor(centre - 2 * stretch).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(4 * stretch) + 1)
    weight = cubic((centre[:, None] - index) / stretch)
    weight /= weight.sum(axis=1, keepdims=True)
    used = weight.any(axis=0)
    return _inside(index[:, used].T.copy(), size, border), weight[:, used].T.copy()


def _rounded(total: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rounds halves up and clips to the integer type."""
    return np.floor(np.clip(total, 0, np.iinfo(dtype).max) + 0.5).astype(dtype)


def _sum_in_order(products: Iterable[np.ndarray]) -> np.ndarray:
    """Sums the first dimension in float64 as the definition does, term after term; numpy's `sum` may take another order."""
    return functools.reduce(np.add, products)


def _resize_rows(image: np.ndarray, out_size: int, scale: float, border: str) -> np.ndarray:
    """Resizes the first dimension; rounds halves up and clips to the image's integer type."""
    factor = round(1 / scale)
    if factor >= 1 and scale == 1 / factor:
        return _shrink_rows(image, out_size, factor, border)
    index, weight = _taps(image.shape[0], out_size, scale, border)
    flat = image.reshape(image.shape[0], -1)
    total = _sum_in_order(weight[tap, :, None] * flat[index[tap]] for tap in range(len(index)))
    return _rounded(total, image.dtype).reshape(out_size, *image.shape[1:])


@functools.lru_cache(maxsize=64)
def _shrinking_matrix(factor: int, limit: int, dtype: type) -> tuple[np.ndarray, int, float]:
    """The filter that all output rows share when the scale is 1 / factor, as a matrix that makes `_BLOCK` of them.

    Returns:
        The matrix, _BLOCK x input rows; the first input row of output row 0, below 0; and how close to a half a sum must
        be for its rounding to be in doubt. That is 0, never, in two cases. Where every weight is such a multiple of a
        power of two that no sum of products in `dtype` is rounded, whatever its order: x2 and x4 for 8 bits. And where the
        factor k is odd and small: the weights are multiples of 1 / k^4, so that no sum is closer to a half than half of
        that, and the products' errors are smaller: x3.
    """
    start = (factor - 1) // 2 - 2 * factor + 1
    taps = np.arange(start, start + 4 * factor)
    weight = cubic(((factor - 1) / 2 - taps) / factor) / factor
    largest = limit * np.abs(weight).sum()
    mantissa = np.finfo(dtype).nmant + 1
    exact = not np.any(np.mod(weight, 2.0 ** (math.ceil(math.log2(largest)) - mantissa)))
    # The second term is for weights that the definition computes from centres rounded in float64.
    difference = float(largest * ((len(taps) + 4) * 2.0 ** -mantissa + 1e-10))
    if exact or (factor % 2 and difference < 0.4 / factor**4):
        difference = 0.0
    matrix = np.zeros((_BLOCK, (_BLOCK - 1) * factor + len(taps)), dtype)
    for row in range(_BLOCK):
        matrix[row, row * factor:row * factor + len(taps)] = weight
    return matrix, start, difference


def _shrink_rows(image: np.ndarray, out_size: int, factor: int, border: str) -> np.ndarray:
    """`_resize_rows` for a scale of 1 / factor: matrix products, and the definition wherever rounding them is in doubt."""
    size, limit = image.shape[0], np.iinfo(image.dtype).max
    dtype = np.float32 if image.dtype == np.uint8 else np.float64
    matrix, start, difference = _shrinking_matrix(factor, int(limit), dtype)
    flat = np.ascontiguousarray(image).reshape(size, -1)
    out = np.empty((out_size, flat.shape[1]), image.dtype)
    for first in range(0, out_size, _STRIP):  # strips stay in the cache
        blocks = -(-min(_STRIP, out_size - first) // _BLOCK)
        top = first * factor + start
        bottom = top + (blocks - 1) * _BLOCK * factor + matrix.shape[1]
        within = top >= 0 and bottom <= size
        rows = (flat[top:bottom] if within else flat[_inside(np.arange(top, bottom), size, border)]).astype(dtype)
        windows = np.lib.stride_tricks.as_strided(
            rows, (blocks, matrix.shape[1], rows.shape[1]), (_BLOCK * factor * rows.strides[0], *rows.strides))
        total = np.matmul(matrix, windows).reshape(blocks * _BLOCK, -1)[:out_size - first]
        np.clip(total, 0, limit, out=total)
        total += 0.5
        strip = out[first:first + len(total)]
        strip[:] = total  # cuts the fraction off
        if difference:
            doubtful = np.flatnonzero(np.abs(total - np.rint(total)) <= difference)
            row, column = np.divmod(doubtful, flat.shape[1])
            index, weight = (values[:, first + row] for values in _taps(size, out_size, 1 / factor, border))
            total = _sum_in_order(weight * flat.reshape(-1).take(index * flat.shape[1] + column))
            strip.reshape(-1)[doubtful] = _rounded(total, image.dtype)
    return out.reshape(out_size, *image.shape[1:])


def _transposed(image: np.ndarray) -> np.ndarray:
    """H x W (x C) -> W x H (x C), a copy; OpenCV's is several times faster than numpy's."""
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        return image.swapaxes(0, 1).copy()
    return cv2.transpose(image).reshape(image.shape[1], image.shape[0], *image.shape[2:])


def imresize(image: np.ndarray, scale: float, border: str = 'symmetric') -> np.ndarray:
    """Resizes an image as MATLAB's `imresize(image, scale)` does.

    Args:
        image: H x W or H x W x C, uint8 or uint16; the order of the channels does not matter.
        scale: Output size over input size, above 0: 1 / 4 makes the LR image of x4, 4 upscales four times.
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
    return _transposed(_resize_rows(_transposed(rows), width, scale, border))


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cuts the bottom and the right so that height and width are multiples of `scale`; H x W (x C), a view."""
    return image[:image.shape[0] - image.shape[0] % scale, :image.shape[1] - image.shape[1] % scale]
