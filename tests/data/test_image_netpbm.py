"""PPM and PGM, of 8 and of 16 bits: what another program wrote is read, and what is written, another program reads."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vapsr_arch.data.image_files import ImageData, read_header, read_image
from vapsr_arch.data.image_writing import check_fits, write_image
from vapsr_arch.data.images import read_as_it_is
from vapsr_arch.errors import VapsrError


def _pixels(channels: int, dtype: type) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 9, channels), dtype, endpoint=True)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3])
def test_pixels_are_those_that_opencv_has(channels: int, dtype: type, tmp_path: Path) -> None:
    pixels = _pixels(channels, dtype)
    path = tmp_path / ('x.pgm' if channels == 1 else 'x.ppm')
    cv2.imwrite(str(path), pixels[..., ::-1])
    read = read_image(path).pixels
    assert read.dtype == dtype and np.array_equal(read, pixels)
    assert read_header(path) == (6, 9, dtype == np.uint16, False)
    assert np.array_equal(read_as_it_is(path).reshape(pixels.shape), pixels[..., ::-1])
    write_image(tmp_path / 'y', path.suffix[1:], ImageData(pixels))
    assert np.array_equal(cv2.imread(str(tmp_path / 'y'), cv2.IMREAD_UNCHANGED).reshape(pixels.shape), pixels[..., ::-1])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_grey_as_ppm_has_three_channels(dtype: type, tmp_path: Path) -> None:
    pixels = _pixels(1, dtype)
    write_image(tmp_path / 'x.ppm', 'ppm', ImageData(pixels))
    assert (tmp_path / 'x.ppm').read_bytes()[:2] == b'P6' and np.array_equal(read_image(tmp_path / 'x.ppm').pixels,
                                                                             pixels.repeat(3, 2))


@pytest.mark.parametrize(('content', 'expected'), [
    (b'P5 2 1 1023\n\x00\x00\x03\xff', [0, 65535]), (b'P5\n# two\n2 1\n#more\n4095\n\x0f\xff\x00\x01', [65535, 16]),
    (b'P2 2 1 65535 65535 7', [65535, 7]), (b'P2 2 1 300\n150 # half\n300\n', [32768, 65535])])
def test_other_largest_samples_and_text(content: bytes, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / 'x.pgm').write_bytes(content)
    assert read_image(tmp_path / 'x.pgm').pixels.ravel().tolist() == expected


@pytest.mark.parametrize(('content', 'message'), [
    (b'P5 2 1 1023\n\0\0\3', 'ends after 1 of 2 samples'), (b'P5 2 1 1023\n\0\0\4\0', 'samples above 1023'),
    (b'P5 2 1 1023\n', 'ends after 0 of 2'), (b'P2 2 1 1023 5', 'ends after 1'), (b'P2 2 1 1023 5 -1', 'no numbers'),
    (b'P5 999999999 999999999 1023\n', 'GiB of memory'), (b'P5 2 1 99999\n' + b'\0' * 8, 'cannot be read'),
    (b'P6 0 1 1023\n', 'cannot be read')])
def test_damaged_ones_are_reported(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / 'x.pgm').write_bytes(content)
    with pytest.raises(VapsrError, match=message):
        read_image(tmp_path / 'x.pgm')


@pytest.mark.parametrize(('kind', 'channels', 'message'), [('ppm', 4, 'alpha'), ('pgm', 3, 'colours'), ('pgm', 2, 'alpha')])
def test_what_they_cannot_hold_is_refused(kind: str, channels: int, message: str) -> None:
    with pytest.raises(VapsrError, match=f'hold {message}: take --format png'):
        check_fits(kind, 6, 9, ImageData(_pixels(channels, np.uint8)))


def test_eight_bits_are_pillows(tmp_path: Path) -> None:
    (tmp_path / 'x.pbm').write_bytes(b'P1 2 1 0 1')
    with Image.open(tmp_path / 'x.pbm') as image:
        assert np.array_equal(read_image(tmp_path / 'x.pbm').pixels[..., 0], np.asarray(image.convert('L')))
