"""What images say beside their pixels: resolution, XMP, the colours of a PNG; kept, or named as left out; never invented."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from tests.data.data_helpers import png_chunk, with_png_chunks
from vapsr_arch.data import image_writing
from vapsr_arch.data.image_files import ImageData, read_image
from vapsr_arch.data.image_writing import check_fits, write_image, write_png
from vapsr_arch.errors import VapsrError

PIXELS = np.full((4, 6, 3), 77, np.uint8)
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:ImageWidth="999"/>'
       b'</rdf:RDF></x:xmpmeta>')


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = 'Maker'
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = 'N'
    return exif


@pytest.mark.parametrize('kind', ['png', 'jpeg', 'tiff', 'bmp'])
def test_the_resolution_is_kept(kind: str, tmp_path: Path) -> None:
    Image.new('RGB', (4, 4)).save(tmp_path / 'x.png', dpi=(300, 150))
    write_image(tmp_path / 'y', kind, read_image(tmp_path / 'x.png'))
    with Image.open(tmp_path / 'y') as image:
        assert abs(float(image.info['dpi'][0]) - 300) < 1  # of JPEGs with EXIF, Pillow has the same down
    assert np.allclose(read_image(tmp_path / 'y').resolution, (300 / 25.4, 150 / 25.4), atol=0.04)


@pytest.mark.parametrize('kind', ['png', 'jpeg', 'webp', 'tiff', 'avif', 'bmp'])
@pytest.mark.parametrize('exif', [None, _exif()], ids=['without EXIF', 'with EXIF'])
def test_no_resolution_is_invented(exif: Image.Exif | None, kind: str, tmp_path: Path) -> None:
    if exif and kind == 'bmp':
        return
    write_image(tmp_path / 'x', kind, ImageData(PIXELS, exif))
    read = read_image(tmp_path / 'x')
    assert read.resolution is None and (read.exif[ExifTags.Base.Make] == 'Maker' if exif else read.exif is None)
    with Image.open(tmp_path / 'x') as image:
        tags = image.getexif()
        assert image.info.get('dpi', (1, 1)) in ((1, 1), (0, 0))
        assert tags.get(ExifTags.Base.XResolution) is None or tags.get(ExifTags.Base.ResolutionUnit) == 1
        assert exif or ExifTags.Base.XResolution not in tags


@pytest.mark.parametrize('kind', ['png', 'jpeg', 'webp', 'tiff', 'avif', 'bmp'])
def test_files_without_a_resolution_are_read_as_such(kind: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / 'x', kind, **{'dpi': (0, 0)} if kind == 'bmp' else {})
    assert read_image(tmp_path / 'x').resolution is None


@pytest.mark.parametrize('across', [0, 2**31 - 1, 2**32 - 1])
def test_a_resolution_that_cannot_be_is_left_out(across: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(PIXELS).save(tmp_path / 'x.png')
    with_png_chunks(tmp_path / 'x.png', png_chunk(b'pHYs', struct.pack('>IIB', across, 5000, 1)))
    Image.fromarray(PIXELS).save(tmp_path / 'x.bmp', dpi=(across % 2**31 * 0.0254, 127))
    for name in ('x.png', 'x.bmp'):
        read = read_image(tmp_path / name)
        assert read.resolution is None
        write_image(tmp_path / 'y.png', 'png', read)
    assert capfd.readouterr() == ('', '')  # GLib has a line for it


def test_training_images_have_no_resolution(tmp_path: Path) -> None:
    write_png(tmp_path / 'x.png', PIXELS)
    with Image.open(tmp_path / 'x.png') as image:
        assert 'dpi' not in image.info and np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize('is_big', [False, True], ids=['TIFF', 'BigTIFF'])
def test_a_tiffs_directory_is_rewritten_whole(is_big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_writing, '_CLASSIC_TIFF', 0 if is_big else 2**30)
    pixels = np.random.default_rng(0).integers(0, 65536, (300, 500, 4), np.uint16)
    path = tmp_path / 'x.tif'
    write_image(path, 'tiff', ImageData(pixels, _exif(), xmp=XMP))
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == is_big and len(file.pages) == 1
        page = file.pages[0]
        assert np.array_equal(page.asarray(), pixels) and page.tags['Make'].value == 'Maker' and 'XResolution' not in page.tags
        assert page.tags['GPSTag'].value['GPSLatitudeRef'] == 'N' and page.tags['XMP'].value.startswith(XMP[:20])
    read = read_image(path)
    assert read.exif == _exif() and np.array_equal(read.pixels, pixels)


@pytest.mark.parametrize('kind', ['png', 'jpeg', 'webp', 'tiff', 'avif'])
def test_xmp_is_kept_and_suited(kind: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / 'x.jpg', xmp=XMP)
    read = read_image(tmp_path / 'x.jpg')
    assert read.xmp == XMP and not read.notes
    write_image(tmp_path / 'y', kind, read)
    expected = XMP.replace(b'Orientation="6"', b'Orientation="1"').replace(b'"999"', b'"6"')
    assert read_image(tmp_path / 'y').xmp == expected


@pytest.mark.parametrize(('xmp', 'note'), [
    (b'<x xmlns:c="http://ns.google.com/photos/1.0/container/"/>', 'is about parts of the file that are not kept'),
    (b'<x>\0</x>', 'is damaged'), (b'words', 'is damaged')])
def test_xmp_that_is_not_true_any_more_is_named(xmp: bytes, note: str, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / 'x.jpg', xmp=xmp)
    read = read_image(tmp_path / 'x.jpg')
    assert read.xmp is None and read.notes == (f'its XMP {note} and was left out',)


@pytest.mark.parametrize(('kind', 'size', 'message'), [('jpeg', 70000, r'XMP of 7\d+ bytes: take --format png'),
                                                       ('bmp', 10, 'hold XMP'), ('ppm', 10, 'hold XMP')])
def test_xmp_that_a_format_cannot_hold_is_refused(kind: str, size: int, message: str) -> None:
    with pytest.raises(VapsrError, match=message):
        check_fits(kind, 4, 4, ImageData(PIXELS, xmp=b'<' * size))


def test_what_a_png_says_of_its_colours_is_named(tmp_path: Path) -> None:
    Image.new('RGB', (4, 4)).save(tmp_path / 'x.png')
    with_png_chunks(tmp_path / 'x.png', png_chunk(b'gAMA', struct.pack('>I', 45455)), png_chunk(b'cICP', b'\x09\x10\0\1'))
    assert read_image(tmp_path / 'x.png').notes == ('what it says of its colours (gAMA, cICP) was left out',)


def test_avif_is_read_and_written(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new('RGB', (16, 12), (200, 100, 50)).save(buffer, 'AVIF', quality=95)
    read = read_image('x.avif', buffer.getvalue())
    assert read.pixels.shape == (12, 16, 3) and np.abs(read.pixels.astype(int) - (200, 100, 50)).max() < 8
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 5, 4), np.uint8), (50, 40), interpolation=cv2.INTER_CUBIC)
    for channels in (1, 2, 3, 4):
        pixels = smooth[..., 4 - channels:]
        write_image(tmp_path / 'x', 'avif', ImageData(pixels, _exif()))
        with Image.open(tmp_path / 'x') as image:  # which has no grey
            assert image.format == 'AVIF' and image.mode == ('RGBA' if channels in (2, 4) else 'RGB')
            decoded = np.asarray(image.convert({1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels])).reshape(pixels.shape)
        assert np.abs(decoded.astype(int) - pixels).mean() < 3
        assert read_image(tmp_path / 'x').exif[ExifTags.Base.Make] == 'Maker'


@pytest.mark.parametrize(('pixels', 'message'), [(PIXELS.astype(np.uint16), '16 bits'),
                                                 (np.zeros((1, 16385, 3), np.uint8), '16384 pixels')])
def test_what_avif_cannot_hold_is_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(VapsrError, match=message):
        check_fits('avif', *pixels.shape[:2], ImageData(pixels))


@pytest.mark.parametrize(('start', 'name'), [(b'\0\0\0\x18ftypheic', 'HEIC'), (b'\xff\x0a\xfa\x1f\x41\x91\x08\x06', 'JPEG XL'),
                                             (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL')])
def test_heic_and_jpeg_xl_are_named(start: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / 'x').write_bytes(start + b'\0' * 40)
    with pytest.raises(VapsrError, match=f'is a {name} file: take png'):
        read_image(tmp_path / 'x')
