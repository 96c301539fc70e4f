"""Strips: which patch they show, and that it is the one asked for."""

from pathlib import Path

import cv2
import numpy as np

from tests.conftest import photograph
from vapsr_arch.report.comparison import Panel, Patch, draw_strip, where_they_differ


def test_the_patch_is_where_the_images_differ_most() -> None:
    images = [photograph(120, 160, 0) for _ in range(3)]
    images[1][60:72, 100:118] ^= 64
    images[2][10, 10] ^= 255
    patch = where_they_differ(images, 4)
    assert patch.x % 4 == patch.y % 4 == patch.width % 4 == patch.height % 4 == 0
    assert patch.x <= 100 and patch.x + patch.width >= 118
    assert patch.y <= 60 and patch.y + patch.height >= 72


def test_the_patch_of_a_small_image_is_within_it() -> None:
    images = [photograph(9, 30, seed) for seed in range(2)]
    patch = where_they_differ(images, 4)
    assert patch.of(images[0]).shape[:2] == (patch.height, patch.width)


def test_a_strip_boxes_the_patch_in_the_whole_image(tmp_path: Path) -> None:
    hr = np.full((120, 160, 3), 255, np.uint8)
    patch = Patch(80, 60, 40, 30)
    panels = [Panel(np.full((30, 40, 3), value, np.uint8), str(value)) for value in (0, 50, 100)]
    draw_strip(hr, patch, panels, 'white', tmp_path / 'strip.png')
    strip = cv2.imread(str(tmp_path / 'strip.png'))
    red = np.argwhere((strip[..., 2] > 180) & (strip[..., 1] < 60))
    height, width = np.ptp(red, axis=0)
    assert abs(width / height - 40 / 30) < 0.1
    for value in (0, 50, 100):
        assert (strip == value).all(axis=2).sum() > 1000
