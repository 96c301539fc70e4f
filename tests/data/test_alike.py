"""LR images that do not belong to their HR images are found; what belongs to them, however degraded, is not."""

import cv2
import numpy as np
import pytest

from tests.conftest import photograph
from vapsr_arch.data.alike import difference
from vapsr_arch.data.matlab_resize import imresize

PLAIN = np.full((96, 128, 3), 200, np.uint8)


def degraded(image: np.ndarray) -> np.ndarray:
    """Blurred, noisy and of JPEG's quality 30."""
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    image = np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('height, width', [(200, 260), (96, 480), (49, 51)])
def test_what_belongs_together(scale: int, height: int, width: int) -> None:
    for seed in range(5):
        for gt in (photograph(height, width, seed), photograph(height, width, seed) // 16 + 100):
            lq = imresize(gt[:height // scale * scale, :width // scale * scale], 1 / scale)
            assert difference(gt, lq, scale) is None and difference(gt, degraded(lq), scale) is None


def test_noise_and_plain_areas() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert difference(noise, imresize(noise, 1 / 4), 4) is None
    assert difference(PLAIN, PLAIN[::4, ::4], 4) is None
    assert difference(PLAIN, degraded(np.ascontiguousarray(PLAIN[::4, ::4])), 4) is None
    assert difference(PLAIN, PLAIN[::4, ::4] - 60, 4) == 'shows something else'


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('down, right', [(16, 0), (0, -16), (32, 16)])
def test_a_crop_that_is_shifted(scale: int, down: int, right: int) -> None:
    for seed in range(5):
        image = photograph(320, 320, seed)
        gt, other = image[48:240, 48:240], image[48 + down:240 + down, 48 + right:240 + right]
        lq = imresize(other, 1 / scale)
        assert difference(gt, lq, scale) == f'shows it shifted by about {-down // scale} rows and {-right // scale} columns'
        assert 'shows it shifted by about ' in difference(gt, degraded(lq), scale)


def test_another_image() -> None:
    for seed in range(5):
        other = imresize(photograph(192, 192, seed + 10), 1 / 4)
        assert difference(photograph(192, 192, seed), other, 4) == 'shows something else'


@pytest.mark.parametrize('order, words', [((2, 1, 0), 'has red and blue swapped'),
                                          ((1, 2, 0), 'has its channels in another order')])
def test_channels_in_another_order(order: tuple[int, ...], words: str) -> None:
    for seed in range(5):
        gt = cv2.GaussianBlur(photograph(192, 256, seed), (0, 0), 8)  # JPEG keeps its colours
        lq = np.ascontiguousarray(imresize(gt, 1 / 4)[..., order])
        assert difference(gt, lq, 4) == difference(gt, degraded(lq), 4) == words


def test_other_colours() -> None:
    gt = photograph(192, 256, 0)
    lq = imresize(gt, 1 / 4)
    assert difference(gt, cv2.cvtColor(cv2.cvtColor(lq, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), 4) == 'is grey'
    assert difference(gt, np.dstack([255 - lq[..., 0], lq[..., 1:]]), 4) == 'has other colours'
    assert difference(gt, np.clip(lq * [1.1, 1, 0.9], 0, 255).astype(np.uint8), 4) is None
    grey = cv2.cvtColor(cv2.cvtColor(gt, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert difference(grey, imresize(grey, 1 / 4), 4) is None
    assert difference(grey, cv2.GaussianBlur(imresize(grey, 1 / 4), (0, 0), 1.2), 4) is None
    assert difference(grey, np.ascontiguousarray(degraded(grey)[::4, ::4, :1].repeat(3, axis=2)), 4) is None
