"""Pictures that show enlargements of one image side by side."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from vapsr_arch.files import written_whole


class Panel(NamedTuple):
    """One picture of a row: H x W x 3, uint8, RGB, and what stands below it."""

    image: np.ndarray
    caption: str


def draw_comparison(rows: Sequence[Sequence[Panel]], path: str | os.PathLike, panel_inches: float = 2.4) -> None:
    """Draws rows of pictures with a caption under each; a smaller one is enlarged to its neighbours' size, pixels visible.

    Args:
        rows: The pictures; every row has as many, about square.
        path: The PNG to write.
        panel_inches: Width of a picture, at 120 dots an inch.
    """
    figure = Figure(figsize=(panel_inches * len(rows[0]), (panel_inches + 0.3) * len(rows)), dpi=120, layout='constrained')
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for row_axes, row in zip(axes, rows):
        for axis, panel in zip(row_axes, row):
            axis.imshow(panel.image, interpolation='nearest')
            axis.set_xlabel(panel.caption, fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
    with written_whole(path) as temporary:
        figure.savefig(temporary, format='png')
