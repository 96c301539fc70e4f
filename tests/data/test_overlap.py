"""Windows of rows: a crop has those of its image, whatever its place."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import photograph
from vapsr_arch.data.overlap import PartIndex, chosen_windows

IMAGES = [photograph(150, 170, seed) for seed in range(3)]
INDEX = PartIndex([chosen_windows(image, every_row=True) for image in IMAGES])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2), st.integers(0, 90), st.integers(0, 90), st.integers(60, 80), st.integers(60, 80))
def test_crops_are_found_in_their_image_alone(which: int, top: int, left: int, height: int, width: int) -> None:
    crop = IMAGES[which][top:top + height, left:left + width]
    assert INDEX.containing(chosen_windows(crop, every_row=False)) == {which}
    assert not INDEX.containing(chosen_windows(crop[::-1, ::-1], every_row=False))


def test_plain_and_narrow_images_are_in_none() -> None:
    for image in (np.zeros((64, 64, 3), np.uint8), IMAGES[0][:, :12]):
        assert not INDEX.containing(chosen_windows(image, every_row=False))
    assert not PartIndex([]).containing(chosen_windows(IMAGES[0], every_row=False))
