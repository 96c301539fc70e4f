"""Images, reference material, the command line and a server on loopback."""

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of four images of different sizes and kinds."""
    folder = tmp_path / 'HR'
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, shape, dtype in (('a', (64, 48, 3), np.uint8), ('b', (49, 66, 3), np.uint8), ('c', (48, 48), np.uint8),
                               ('d', (50, 60, 3), np.uint16)):
        cv2.imwrite(str(folder / f'{name}.png'), random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True))
    return folder
