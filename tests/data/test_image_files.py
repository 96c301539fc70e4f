"""Reading and writing images: what is kept, what is refused."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps

from vapsr_arch.data.image_files import ImageData, read_header, read_image
from vapsr_arch.data.image_formats import FORMATS, OUTPUT_SUFFIXES
from vapsr_arch.data.image_writing import write_image
from vapsr_arch.errors import VapsrError

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = 'Maker'
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ExifImageWidth: 1, ExifTags.Base.ExposureTime: 0.008})
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = 'N'
    return exif


def _pixels(channels: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 9, channels), dtype, endpoint=True)


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize(('kind', 'dtype'), [('png', np.uint8), ('png', np.uint16), ('tiff', np.uint8), ('tiff', np.uint16)])
def test_png_and_tiff_keep_everything(kind: str, dtype: type, channels: int, tmp_path: Path) -> None:
    icc = ICC if channels > 2 else None  # it is for RGB
    path, pixels = tmp_path / 'x', _pixels(channels, dtype)
    write_image(path, kind, ImageData(pixels, _exif(), icc))
    read = read_image(path)
    assert read.pixels.dtype == dtype and np.array_equal(read.pixels, pixels)
    assert read.icc == icc and read.exif[ExifTags.Base.Make] == 'Maker' and read.exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == 'N'
    details = read.exif.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.ExposureTime] == 0.008 and details[ExifTags.Base.ExifImageWidth] == 9


@pytest.mark.parametrize('kind', ['jpeg', 'webp'])
def test_jpeg_and_webp_keep_metadata(kind: str, tmp_path: Path) -> None:
    write_image(tmp_path / 'x', kind, ImageData(np.full((6, 9, 3), 99, np.uint8), _exif(), ICC))
    read = read_image(tmp_path / 'x')
    assert np.abs(read.pixels.astype(int) - 99).max() <= 1
    assert read.icc == ICC and read.exif[ExifTags.Base.Make] == 'Maker'
    assert read.exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 9


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3])
def test_other_programs_read_the_tiffs(channels: int, dtype: type, tmp_path: Path) -> None:
    pixels = _pixels(channels, dtype)
    write_image(tmp_path / 'x.tif', 'tiff', ImageData(pixels, _exif(), ICC))
    with tifffile.TiffFile(tmp_path / 'x.tif') as file:
        assert len(file.pages) == 1 and file.pages[0].tags['Make'].value == 'Maker'
    assert np.array_equal(cv2.imread(str(tmp_path / 'x.tif'), cv2.IMREAD_UNCHANGED).reshape(pixels.shape)[..., ::-1], pixels)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['jpeg', 'tiff', 'png'])
def test_images_are_turned_as_their_exif_says(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    source.save(tmp_path / 'x', kind, exif=exif)
    read = read_image(tmp_path / 'x')
    source.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(source))
    assert np.array_equal(read.pixels[..., 0], expected) or (kind == 'jpeg' and read.pixels.shape[:2] == expected.shape)
    write_image(tmp_path / 'y', kind, read)
    assert read_image(tmp_path / 'y').pixels.shape == read.pixels.shape  # and not turned once more


@pytest.mark.parametrize('orientation', [0, 9, 65535])
@pytest.mark.parametrize('kind', ['jpeg', 'tiff', 'png', 'webp'])
def test_an_orientation_that_is_none_turns_nothing(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = Image.fromarray(_pixels(3))
    source.save(tmp_path / 'x', kind, exif=exif)
    read = read_image(tmp_path / 'x')
    assert read.pixels.shape == (*source.size[::-1], 3) and (kind in ('jpeg', 'webp') or np.array_equal(read.pixels, source))


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['tiff', 'png'])
def test_images_of_16_bits_are_turned(kind: str, orientation: int, tmp_path: Path) -> None:
    exif, pixels = Image.Exif(), _pixels(3, np.uint16)
    exif[ExifTags.Base.Orientation] = orientation
    if kind == 'tiff':
        tifffile.imwrite(tmp_path / 'x', pixels, photometric='rgb', extratags=[(ExifTags.Base.Orientation, 3, 1, orientation)])
    else:
        content = cv2.imencodeWithMetadata('.png', pixels[..., ::-1], [cv2.IMAGE_METADATA_EXIF],
                                           [np.frombuffer(exif.tobytes().removeprefix(b'Exif\0\0'), np.uint8)])[1]
        (tmp_path / 'x').write_bytes(content)
    with Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9)) as places:  # where each pixel goes
        places.getexif()[ExifTags.Base.Orientation] = orientation
        expected = pixels.reshape(54, 3)[np.asarray(ImageOps.exif_transpose(places))]
    assert np.array_equal(read_image(tmp_path / 'x').pixels, expected)


@pytest.mark.parametrize(('mode', 'channels'), [('1', 1), ('P', 3), ('L', 1), ('LA', 2), ('RGB', 3), ('RGBA', 4)])
def test_modes_that_are_read(mode: str, channels: int, tmp_path: Path) -> None:
    image = Image.fromarray(_pixels(4)).convert('RGB' if mode == 'P' else mode).convert(mode)
    image.save(tmp_path / 'x.png')
    assert np.array_equal(read_image(tmp_path / 'x.png').pixels.squeeze(),
                          np.asarray(image.convert({'1': 'L', 'P': 'RGB'}.get(mode, mode))))
    assert read_image(tmp_path / 'x.png').pixels.shape == (6, 9, channels)


@pytest.mark.parametrize(('mode', 'transparency', 'channels'), [('P', 0, 4), ('L', 7, 2), ('RGB', (1, 2, 3), 4)])
def test_a_transparent_colour_becomes_alpha(mode: str, transparency: object, channels: int, tmp_path: Path) -> None:
    image = Image.new('RGB', (4, 4), (1, 2, 3)) if mode == 'RGB' else Image.new(mode, (4, 4), transparency)
    image.save(tmp_path / 'x.png', transparency=transparency)
    read = read_image(tmp_path / 'x.png').pixels
    assert read.shape[2] == channels and (read[..., -1] == 0).all()


def test_a_16_among_numbers_is_not_taken_for_16_bits(tmp_path: Path) -> None:
    Image.new('RGB', (5, 5)).save(tmp_path / 'x.bmp')  # 16 bytes a row
    assert read_image(tmp_path / 'x.bmp').pixels.dtype == np.uint8 and not read_header(tmp_path / 'x.bmp').is_16bit


def test_a_stereo_jpegs_first_image_is_taken_and_reported(tmp_path: Path) -> None:
    one, other = Image.new('RGB', (4, 4), 'red'), Image.new('RGB', (4, 4), 'blue')
    one.save(tmp_path / 'x.jpg', 'MPO', save_all=True, append_images=[other])
    read = read_image(tmp_path / 'x.jpg')
    assert read.pixels[0, 0, 0] > 200 and read.notes == ('of its 2 images, the first was taken',)


def _write_animation(path: Path) -> None:
    Image.new('RGB', (4, 4), 'red').save(path, 'WEBP', save_all=True, append_images=[Image.new('RGB', (4, 4), 'blue')])


def _write_pages(path: Path) -> None:
    Image.new('L', (4, 4)).save(path, 'TIFF', save_all=True, append_images=[Image.new('L', (4, 4))])


def _write_cut(kind: str, dtype: type) -> object:
    def write(path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype)
        write_image(path, kind, ImageData(pixels))
        content = path.read_bytes()
        path.write_bytes(content[:len(content) // 2])
    return write


@pytest.mark.parametrize(('write', 'message'), [
    (lambda path: None, 'no such image'),
    (lambda path: path.write_text('text'), 'is not an image'),
    (lambda path: path.touch(), 'is not an image'),
    (lambda path: Image.new('F', (4, 4)).save(path, 'TIFF'), 'samples of 32 bits'),
    (lambda path: Image.new('L', (4, 4)).save(path, 'GIF'), 'is a GIF file'),
    (_write_animation, 'has 2 images'), (_write_pages, 'has 2 images'),
    (_write_cut('jpeg', np.uint8), 'cannot be read'), (_write_cut('png', np.uint8), 'cannot be read'),
    (_write_cut('png', np.uint16), 'cannot be read'),
], ids=['missing', 'text', 'empty', 'float', 'GIF', 'animation', 'pages', 'cut JPEG', 'cut PNG', 'cut 16-bit PNG'])
def test_what_is_not_read_is_reported_in_a_sentence(write: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / 'image'
    write(path)
    with pytest.raises(VapsrError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(('kind', 'pixels', 'message'), [
    ('jpeg', _pixels(4), 'alpha'), ('jpeg', _pixels(3, np.uint16), '16 bits'), ('webp', _pixels(3, np.uint16), '16 bits'),
    ('webp', np.zeros((1, 16384, 3), np.uint8), '16383 pixels'), ('jpeg', np.zeros((65501, 1, 3), np.uint8), '65500 pixels'),
    ('bmp', _pixels(4), 'alpha')])
def test_what_a_format_cannot_hold_is_refused(kind: str, pixels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(VapsrError, match=message):
        write_image(tmp_path / 'x', kind, ImageData(pixels))
    assert not list(tmp_path.iterdir())


def test_what_an_encoder_refuses_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise pyvips.Error('', 'vips2png: too large\nand more')
    monkeypatch.setattr(pyvips.Image, 'pngsave', fail, raising=False)
    with pytest.raises(VapsrError, match=r'9x6 pixels cannot be written as png: .*too large'):
        write_image(tmp_path / 'x', 'png', ImageData(_pixels(3)))
    assert not list(tmp_path.iterdir())


def test_bmp_refuses_metadata_and_writes_pixels(tmp_path: Path) -> None:
    with pytest.raises(VapsrError, match='EXIF nor an ICC profile'):
        write_image(tmp_path / 'x', 'bmp', ImageData(_pixels(3), _exif(), ICC))
    write_image(tmp_path / 'x', 'bmp', ImageData(_pixels(3)))
    assert np.array_equal(read_image(tmp_path / 'x').pixels, _pixels(3))


def test_a_damaged_exif_is_left_out_and_reported(tmp_path: Path) -> None:
    make_as_a_number = struct.pack('<HHHIIId', 1, ExifTags.Base.Make, 12, 1, 26, 0, 1.5)
    Image.new('RGB', (4, 4)).save(tmp_path / 'x.jpg', exif=b'Exif\0\0II*\0\x08\0\0\0' + make_as_a_number)
    read = read_image(tmp_path / 'x.jpg')
    assert read.exif is None and read.notes == ('its EXIF is damaged and was left out',)


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert {OUTPUT_SUFFIXES[suffix] for suffix in FORMATS.values()} == set(FORMATS)
