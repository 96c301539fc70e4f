"""What every shipped file of weights must hold: flat colours and gradients come out as they are."""

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from vapsr_arch.inference.upscaler import Upscaler

LARGEST_SHIFT, LARGEST_DEVIATION, LARGEST_GRADIENT_ERROR = 0.5, 0.5, 3  # grey levels
SHIPPED = sorted((REPOSITORY / 'experiments/pretrained_models').glob('VapSR-S_x*.pth'))
shipped = pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / 'benchmarks')


@shipped
def test_flat_colours_stay_what_they_are(path: Path) -> None:
    """The corners of the cube and every fifth of the colours that `make bench-weights` measures: all take a minute a file."""
    from bench_weights import CORNERS, colour_errors, colours
    shift, deviation = colour_errors(Upscaler(path), [*CORNERS, *colours()[::5]])
    assert shift <= LARGEST_SHIFT and deviation <= LARGEST_DEVIATION


@shipped
def test_gradients_stay_straight(path: Path) -> None:
    from bench_weights import gradient_error
    upscaler = Upscaler(path)
    assert gradient_error(upscaler, upscaler.scale) <= LARGEST_GRADIENT_ERROR


@shipped
def test_a_file_is_small_and_of_the_scale_in_its_name(path: Path) -> None:
    assert path.stat().st_size < 1.5e6 and path.stem.startswith(f'VapSR-S_x{Upscaler(path).scale}')
