"""`imresize` against a plain evaluation of its definition, and against MATLAB's own images."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vapsr_arch.data.matlab_resize import imresize, mod_crop


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def plain_line(line: list[int], factor: int, border: str, limit: int) -> list[int]:
    """One row or column, made `factor` times smaller: the definition, sample by sample."""
    result = []
    for position in range(math.ceil(len(line) / factor)):
        centre = (position + 0.5) / (1 / factor) - 0.5
        taps = [math.floor(centre - 2 * factor) + 1 + tap for tap in range(4 * factor + 1)]
        weights = np.array([kernel((centre - tap) / factor) for tap in taps])
        weights /= weights.sum()
        total = 0.0
        for tap, weight in zip(taps, weights):
            if border == 'replicate':
                inside = min(max(tap, 0), len(line) - 1)
            else:
                inside = tap % (2 * len(line))
                inside = inside if inside < len(line) else 2 * len(line) - 1 - inside
            total += float(weight) * int(line[inside])
        result.append(math.floor(min(max(total, 0), limit) + 0.5))
    return result


def plain_imresize(image: np.ndarray, factor: int, border: str) -> np.ndarray:
    limit = np.iinfo(image.dtype).max
    rows = np.array([plain_line(list(column), factor, border, limit) for column in image.T], image.dtype).T
    return np.array([plain_line(list(row), factor, border, limit) for row in rows], image.dtype)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 8), st.sampled_from(['symmetric', 'replicate']),
       st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1), st.booleans())
def test_equals_the_definition(height: int, width: int, factor: int, border: str, dtype: type, seed: int,
                               two_levels: bool) -> None:
    limit = np.iinfo(dtype).max
    image = np.random.default_rng(seed).integers(0, limit, (height, width), dtype, endpoint=True)
    if two_levels:  # overshoots, and clips
        image = (image > limit // 2).astype(dtype) * dtype(limit)
    np.testing.assert_array_equal(imresize(image, 1 / factor, border), plain_imresize(image, factor, border))


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_channels_are_independent_and_strips_join(factor: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 281, 3), np.uint8)
    together = imresize(image, 1 / factor)
    assert together.shape == (math.ceil(300 / factor), math.ceil(281 / factor), 3)
    for channel in range(3):
        np.testing.assert_array_equal(together[..., channel], imresize(image[..., channel], 1 / factor))
    np.testing.assert_array_equal(imresize(image[..., :2], 1 / factor), together[..., :2])


def test_shrinks_by_a_fraction_and_upscales() -> None:
    image = np.full((12, 9), 77, np.uint8)
    for scale in (0.4, 1.0, 2.5, 4):
        out = imresize(image, scale)
        assert out.shape == (math.ceil(12 * scale), math.ceil(9 * scale)) and (out == 77).all()


@pytest.mark.parametrize(('arguments', 'text'), [
    ((np.zeros((4, 4)), 0.5), 'uint8 or uint16 is needed, not float64'),
    ((np.zeros((4, 4), np.uint8), 0), 'scale must be above 0'),
    ((np.zeros((4, 4), np.uint8), 0.5, 'wrap'), 'border must be one of symmetric, replicate'),
])
def test_refuses(arguments: tuple, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        imresize(*arguments)


def test_57_of_57_images_are_matlabs(reference: Path) -> None:
    equal = {}
    for lr in sorted(reference.glob('data/Set*/LR_bicubic/X[234]/*.png')):
        scale = int(lr.parent.name[1:])
        hr = cv2.imread(str(lr.parents[2] / 'HR' / lr.name), cv2.IMREAD_ANYCOLOR)
        want = cv2.imread(str(lr), cv2.IMREAD_ANYCOLOR)
        hr = hr if hr.ndim == want.ndim else cv2.cvtColor(hr, cv2.COLOR_GRAY2BGR)
        equal[str(lr)] = np.array_equal(imresize(mod_crop(hr, scale), 1 / scale), want)
    assert len(equal) == 57 and all(equal.values()), [name for name, same in equal.items() if not same]
