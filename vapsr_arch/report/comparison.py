"""Figures that show upscaled versions of one image side by side."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vapsr_arch.files import written_whole

DPI = 120
STRIP_FONT = 13  # points; strips are wide, and shown at about half their size


class Panel(NamedTuple):
    """One image of a row: H x W x 3, uint8, RGB, and what stands below it."""

    image: np.ndarray
    caption: str


class Patch(NamedTuple):
    """A rectangle of an HR image, in pixels from its left upper corner."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """This part of an image: H x W x C."""
        return image[self.y:self.y + self.height, self.x:self.x + self.width]


def _show(axis: Axes, panel: Panel, fontsize: float = 9) -> None:
    axis.imshow(panel.image, interpolation='nearest')
    axis.set_xlabel(panel.caption, fontsize=fontsize, parse_math=False)
    axis.set_xticks([])
    axis.set_yticks([])


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with written_whole(path) as temporary:
        figure.savefig(temporary, format='png')


def draw_comparison(rows: Sequence[Sequence[Panel]], path: str | os.PathLike, panel_inches: float = 2.4) -> None:
    """Draws rows of images with a caption under each; a smaller one is upscaled to its neighbours' size, pixels visible.

    Args:
        rows: The images; every row has as many, about square.
        path: The PNG to write.
        panel_inches: Width of an image, at 120 dots an inch.
    """
    figure = Figure(figsize=(panel_inches * len(rows[0]), (panel_inches + 0.3) * len(rows)), dpi=DPI, layout='constrained')
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for row_axes, row in zip(axes, rows):
        for axis, panel in zip(row_axes, row):
            _show(axis, panel)
    _save(figure, path)


def where_they_differ(images: Sequence[np.ndarray], scale: int) -> Patch:
    """Finds the patch in which several upscaled versions of one image differ most: by their variance at each pixel.

    Args:
        images: H x W x 3, uint8, at least two.
        scale: The scale; edges lie on multiples of it.

    Returns:
        A patch of a ninth of the longer side in height and one and a half times that in width.
    """
    height, width = images[0].shape[:2]
    patch_height = min(max(height, width) // 9, height) // scale * scale or height
    patch_width = min(patch_height * 3 // 2, width) // scale * scale or width
    variance = np.var(np.stack(images).astype(np.float32), axis=0).sum(axis=2)
    sums = cv2.integral(variance)
    totals = (sums[patch_height:, patch_width:] - sums[:-patch_height, patch_width:]
              - sums[patch_height:, :-patch_width] + sums[:-patch_height, :-patch_width])[::scale, ::scale]
    y, x = np.unravel_index(totals.argmax(), totals.shape)
    return Patch(int(x) * scale, int(y) * scale, patch_width, patch_height)


def draw_strip(hr: np.ndarray, patch: Patch, panels: Sequence[Panel], title: str, path: str | os.PathLike) -> None:
    """Draws an HR image with a patch boxed, and beside it the patch in each upscaled version, in two rows.

    Args:
        hr: H x W x 3, uint8, RGB.
        patch: What is boxed.
        panels: The patch of each upscaled version.
        title: What stands below the whole image.
        path: The PNG to write.
    """
    columns = -(-len(panels) // 2)
    aspect = patch.height / patch.width
    panel_width, row_height = 1.75, 1.75 * aspect + 0.45  # inches
    hr_width = 2 * row_height * hr.shape[1] / hr.shape[0]
    figure = Figure(figsize=(hr_width + columns * panel_width, 2 * row_height + 0.1), dpi=DPI, layout='constrained')
    grid = figure.add_gridspec(2, columns + 1, width_ratios=[hr_width, *[panel_width] * columns])
    whole = figure.add_subplot(grid[:, 0])
    _show(whole, Panel(hr, title), STRIP_FONT)
    whole.add_patch(Rectangle((patch.x - 0.5, patch.y - 0.5), patch.width, patch.height, fill=False, color='#e4002b', lw=1.8))
    for number, panel in enumerate(panels):
        _show(figure.add_subplot(grid[number // columns, 1 + number % columns]), panel, STRIP_FONT)
    _save(figure, path)
