"""One uploaded image: results, what the slider shows, and what is said of images that fail."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import photograph
from vapsr_arch.app import upscaling
from vapsr_arch.app.upscaling import sentence, upscale_upload
from vapsr_arch.data.image_files import ImageData, read_image
from vapsr_arch.data.image_writing import write_image
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference import batch
from vapsr_arch.inference.upscaler import Upscaler


@pytest.fixture(scope='module')
def upscaler(tiny_weights: Path) -> Upscaler:
    return Upscaler(tiny_weights)


def _written(path: Path, pixels: np.ndarray, kind: str = 'png') -> Path:
    write_image(path, kind, ImageData(pixels))
    return path


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_every_kind_of_image(channels: int, dtype: type, upscaler: Upscaler, tmp_path: Path) -> None:
    pixels = np.concatenate([photograph(20, 30, 0), photograph(20, 30, 1)], 2)[..., :channels].astype(dtype)
    image = _written(tmp_path / 'a.png', pixels * 257 if dtype == np.uint16 else pixels)
    shares: list[float] = []
    upscaled = upscale_upload(image, 'tiny', upscaler, tmp_path, 1, shares.append)
    assert np.array_equal(read_image(upscaled.result).pixels, upscaler(read_image(image).pixels))
    assert upscaled.result.name == 'a_x2.png' and shares[-1] == 1
    assert upscaled.facts == 'a.png: 30x20 to 60x40 pixels with tiny'
    for shown in (upscaled.before, upscaled.after):
        assert read_image(shown).pixels.shape == (40, 60, channels) and read_image(shown).pixels.dtype == np.uint8


def test_the_slider_shows_the_middle_of_large_images(upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, '_SHOWN', 32)
    image = _written(tmp_path / 'a.png', photograph(12, 40, 0))
    upscaled = upscale_upload(image, 'tiny', upscaler, tmp_path, 1, lambda share: None)
    assert np.array_equal(read_image(upscaled.after).pixels, read_image(upscaled.result).pixels[:, 24:56])
    assert read_image(upscaled.before).pixels.shape == (24, 32, 3)
    assert upscaled.facts.endswith('; the slider shows its middle')


def test_results_of_one_name_are_numbered(upscaler: Upscaler, tmp_path: Path) -> None:
    images = [_written(tmp_path / 'a.png', photograph(16, 16, 0)), _written(tmp_path / 'a.bmp', photograph(16, 16, 1), 'bmp')]
    results = [upscale_upload(image, 'tiny', upscaler, tmp_path, 1, lambda share: None) for image in images]
    assert [result.result.name for result in results] == ['a_x2.png', 'a_x2_2.png']
    assert len({path for result in results for path in (result.result, result.before, result.after)}) == 6


def test_a_large_image_is_refused_before_it_is_decoded(upscaler: Upscaler, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    image = _written(tmp_path / 'a.png', photograph(40, 50, 0))
    monkeypatch.setattr(batch, 'read_image', None)
    with pytest.raises(VapsrError) as error:
        upscale_upload(image, 'tiny', upscaler, tmp_path, 0.001, lambda share: None)
    assert sentence(error.value, image) == ('a.png: 50x40 pixels are 0.002 megapixels, and at most 0.001 are taken here: make it '
                                            'smaller, or use the command vapsr upscale')


@pytest.mark.parametrize('error, text', [
    (VapsrError('/tmp/x/a.png cannot be read'), 'a.png cannot be read'),
    (VapsrError('there is not enough memory'), 'a.png: there is not enough memory'),
    (MemoryError(), 'a.png: there is not enough memory'),
    (RuntimeError('CUDA out of memory. Tried to allocate 2 GiB\nmore'), 'a.png: there is not enough memory'),
    (OSError(28, 'No space left on device', '/tmp/y'), 'a.png: No space left on device'),
    (ValueError('odd\nmore'), 'a.png: ValueError: odd; please report it')])
def test_what_is_said_of_a_failed_image(error: Exception, text: str) -> None:
    assert sentence(error, Path('/tmp/x/a.png')) == text
