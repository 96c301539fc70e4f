"""What is said of images that a metric cannot be calculated of."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Finished, photograph
from vapsr_arch.errors import VapsrError
from vapsr_arch.metrics.measure import check_size, measure

NIQE = {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}


@pytest.mark.parametrize('size', [(96, 192), (192, 96)])
def test_the_smallest_image_for_niqe(size: tuple[int, int]) -> None:
    check_size(*size, 'a.png', NIQE)
    image = photograph(*size, 0)
    assert 1 < measure(image, image, NIQE)['niqe'] < 100
    for height, width in ((size[0] - 1, size[1]), (size[0], size[1] - 1)):
        with pytest.raises(VapsrError) as error:
            check_size(height, width, 'a.png', NIQE)
        assert str(error.value) == (f'a.png is {height}x{width}, too small for val.metrics.niqe: calculate_niqe needs 96x192 '
                                    f'pixels within a crop_border of 0: leave the metric or the image out')


@pytest.mark.parametrize(('kind', 'smallest'), [('psnr', 9), ('ssim', 19)])
def test_the_smallest_image_for_psnr_and_ssim(kind: str, smallest: int) -> None:
    metrics = {kind: {'type': f'calculate_{kind}', 'crop_border': 4}}
    check_size(smallest, smallest, 'a.png', metrics)
    image = photograph(smallest, smallest, 0)
    assert math.isfinite(measure(image, 255 - image, metrics)[kind])
    with pytest.raises(VapsrError, match='too small'):
        check_size(smallest - 1, 100, 'a.png', metrics)


@pytest.mark.filterwarnings('ignore::RuntimeWarning')  # numpy's, of the mean of nothing
def test_the_niqe_of_a_plain_image_is_no_number() -> None:
    plain = np.full((96, 192, 3), 90, np.uint8)
    assert math.isnan(measure(plain, plain, NIQE)['niqe'])


@pytest.mark.parametrize('command', ['train', 'test'])
def test_images_that_are_too_small_are_named_before_a_run(
        command: str, train_options: Callable[..., str], test_options: Callable[..., str],
        vapsr: Callable[..., Finished]) -> None:
    options = (train_options if command == 'train' else test_options)(val={'metrics': NIQE})
    result = vapsr(command, '-opt', options)
    assert result.code == 1 and 'Traceback' not in result.err
    assert 'Error: datasets/photos/LR/0.png upscaled by 2 is 40x48, too small for val.metrics.niqe' in result.err.splitlines()[-1]
    assert not list(Path('.').glob('experiments/small*')) and not Path('results').exists()
