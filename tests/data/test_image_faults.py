"""Image files that are damaged, odd or too large: a sentence or the right pixels."""

import ctypes
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests.data.data_helpers import png_chunk, with_png_chunks, write_damaged_pages
from vapsr_arch.data.image_files import read_header, read_image
from vapsr_arch.data.image_writing import write_image
from vapsr_arch.data.images import decode, read_as_it_is
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import glibc

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
HEAD, TAGS = SRGB[:128], SRGB[132:]
DAMAGED_PROFILES = {
    'zeros': bytes(50), 'a byte': b'x', 'longer than it says': b'\0\0\0\x80' + b'x' * 500, 'letters': b'\0\0\1\0' + b'x' * 124,
    'cut off': SRGB[:-20], 'with more behind': SRGB + bytes(40), 'no tags': HEAD + bytes(len(SRGB) - 128),
    'too many tags': HEAD + b'\xff' * 4 + TAGS, 'a tag elsewhere': SRGB[:136] + b'\xff' * 4 + SRGB[140:]}


@pytest.mark.parametrize('profile', DAMAGED_PROFILES.values(), ids=DAMAGED_PROFILES)
@pytest.mark.parametrize('kind', ['png', 'jpeg', 'tiff', 'webp'])
def test_a_damaged_profile_is_left_out(kind: str, profile: bytes, tmp_path: Path) -> None:
    Image.new('RGB', (8, 8), (9, 99, 199)).save(tmp_path / 'p.jpg', icc_profile=profile)
    image = read_image(tmp_path / 'p.jpg')
    assert image.icc is None and image.notes == ('its ICC profile is damaged and was left out',)
    write_image(tmp_path / 'out', kind, image)
    assert read_image(tmp_path / 'out').pixels.shape == (8, 8, 3)


LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()


@pytest.mark.parametrize('profile', [b'\0' * 50, b'\0\0\1\0' + b'x' * 124, LAB], ids=['zeros', 'long', 'LAB'])
def test_a_damaged_profile_of_a_png_is_named_once(profile: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'p.png'
    Image.new('RGB', (8, 8), (9, 99, 199)).save(path, icc_profile=profile)
    image = read_image(path)
    assert image.icc is None and image.notes == ('its ICC profile is damaged, or is for other colours, and was left out',)
    assert (image.pixels == (9, 99, 199)).all() and (read_as_it_is(path) == (199, 99, 9)).all()
    assert capfd.readouterr() == ('', '')  # libpng has warnings for it


@pytest.mark.parametrize('place', [40, 60, -30, -6, -2])
def test_a_png_with_a_changed_byte_is_refused_in_silence(place: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'x.png'
    Image.effect_noise((40, 40), 50).save(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(VapsrError, match='cannot be decoded: the file is damaged'):
        read_as_it_is(path)
    assert capfd.readouterr() == ('', '')


def test_no_reason_comes_from_another_image() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(buffer, 'jpeg')
    content = buffer.getvalue()
    read_image('warning.jpg', content[:-2] + b'xxxx' + content[-2:])
    with pytest.raises(VapsrError, match=r'cut\.png cannot be read as an image: (?!.*JPEG)'):
        read_image('cut.png', b'\x89PNG\r\n\x1a\n' + bytes(40))


def test_alpha_is_not_multiplied_in(tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    Image.new('RGBA', (5, 4), (200, 200, 200, 64)).save(path)
    assert (read_as_it_is(path) == 200).all() and (decode(path.read_bytes(), path) == 200).all()
    assert read_image(path).pixels[0, 0].tolist() == [200, 200, 200, 64]
    tifffile.imwrite(path, np.full((4, 5, 4), (50, 50, 50, 64), np.uint8), photometric='rgb', extrasamples=['assocalpha'])
    assert read_image(path).pixels[0, 0].tolist() == [199, 199, 199, 64]


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    pixels = np.full((3, 4, 3), 513, np.uint16)
    pixels[0, 0] = 7
    cv2.imwrite(str(tmp_path / 'x.png'), pixels)
    with_png_chunks(tmp_path / 'x.png', png_chunk(b'tRNS', struct.pack('>3H', 7, 7, 7)))
    read = read_image(tmp_path / 'x.png').pixels
    assert np.array_equal(read[..., :3], pixels) and read[0, 0, 3] == 0 and (read[1:, :, 3] == 65535).all()
    assert np.array_equal(read_as_it_is(tmp_path / 'x.png'), pixels)


def test_a_fifth_sample_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'x.tif', np.zeros((4, 4, 5), np.uint8), photometric='rgb', planarconfig='contig',
                     extrasamples=['unspecified'] * 2)
    with pytest.raises(VapsrError, match='has 5 samples a pixel'):
        read_image(tmp_path / 'x.tif')


@pytest.mark.parametrize('size', [(-5, 4), (2**31 - 1, 2**31 - 1), (0, 4)])
def test_sizes_that_cannot_be(size: tuple[int, int], tmp_path: Path) -> None:
    header = png_chunk(b'IHDR', struct.pack('>iiBBBBB', *size, 8, 2, 0, 0, 0))
    (tmp_path / 'x.png').write_bytes(b'\x89PNG\r\n\x1a\n' + header + png_chunk(b'IDAT', zlib.compress(b'')) +
                                     png_chunk(b'IEND', b''))
    bmp = b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + struct.pack('<IiiHHIIiiII', 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / 'x.bmp').write_bytes(bmp)
    for name in ('x.png', 'x.bmp'):
        for read in (read_image, read_as_it_is):
            with pytest.raises(VapsrError):
                read(tmp_path / name)


@pytest.mark.parametrize(('dtype', 'words'), [
    ('f8', 'has samples of 64 bits that are signed or real numbers'), ('f4', 'has samples of 32 bits that are signed or real'),
    ('u4', 'has samples of 32 bits: convert it to 8 or 16 bits'), ('i2', 'has samples of 16 bits that are signed')])
@pytest.mark.parametrize('pages', [1, 2])
def test_samples_that_are_not_read_are_named(pages: int, dtype: str, words: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'x.tif', np.ones((pages, 4, 5), dtype), photometric='minisblack')
    for read in (read_image, read_header, read_as_it_is):
        with pytest.raises(VapsrError, match=words if pages == 1 or dtype == 'f8' else 'has 2 images'):
            read(tmp_path / 'x.tif')


@pytest.mark.parametrize('kind', [1, 2, 5, 7, 12])
@pytest.mark.parametrize('tag', [256, 258, 259, 262, 277, 284])
def test_a_number_of_another_kind_in_a_tiffs_directory(tag: int, kind: int, tmp_path: Path) -> None:
    """A byte, which libtiff takes, text, a fraction, bytes, a real number: damaged files have them in any place."""
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, np.full((4, 5, 3), 7, np.uint8), photometric='rgb', metadata=None)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[tag].offset
    content = bytearray(path.read_bytes())
    content[place + 2:place + 4] = struct.pack('<H', kind)
    path.write_bytes(content)
    for read in (read_image, read_header, read_as_it_is):
        try:
            read(path)
        except VapsrError as error:
            assert str(path) in str(error)


def test_alpha_beside_a_palette_is_named(tmp_path: Path) -> None:
    Image.new('RGBA', (5, 4), (200, 100, 50, 64)).convert('PA').save(tmp_path / 'x.tif')
    with pytest.raises(VapsrError, match='has alpha beside a palette: convert it to RGB with alpha'):
        read_image(tmp_path / 'x.tif')


def test_a_header_that_is_damaged_is_called_so(tmp_path: Path) -> None:
    (tmp_path / 'x.ppm').write_bytes(b'P6 -5 3 255\n' + bytes(60))
    with pytest.raises(VapsrError, match=r'x\.ppm cannot be read as an image: its header is damaged$'):
        read_image(tmp_path / 'x.ppm')


@pytest.mark.parametrize(('byteorder', 'bigtiff'), [('<', False), ('>', False), ('<', True), ('>', True)])
@pytest.mark.parametrize('missing', [(256, 257), (256,), (257,), (273,), ()])
def test_a_second_page_that_is_damaged(missing: tuple[int, ...], byteorder: str, bigtiff: bool, tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    write_damaged_pages(path, missing, byteorder, bigtiff)
    for read in (read_image, read_header, read_as_it_is, lambda path: decode(path.read_bytes(), path)):
        with pytest.raises(VapsrError, match='has a second page, which is damaged'):
            read(path)


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize(('available', 'words'), [(2**30, r'65500x65500 pixels need .* GiB of memory, and 1\.0 GiB are free'),
                                                  (2**50, r'is cut off: its \d+ bytes cannot hold 65500x65500 pixels')])
def test_a_jpegs_header_is_looked_at_before_decoding(available: int, words: str, progressive: bool, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new('RGB', (8, 8)).save(tmp_path / 'x.jpg', progressive=progressive)
    content = bytearray((tmp_path / 'x.jpg').read_bytes())
    frame = content.index(b'\xff\xc2' if progressive else b'\xff\xc0')
    content[frame + 5:frame + 9] = struct.pack('>HH', 65500, 65500)
    (tmp_path / 'x.jpg').write_bytes(content)
    monkeypatch.setattr('vapsr_arch.memory.available_memory', lambda: available)
    for read in (read_image, read_header, read_as_it_is):
        with pytest.raises(VapsrError, match=words):
            read(tmp_path / 'x.jpg')


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_a_jpeg_of_one_colour_is_not_taken_for_cut_off(mode: str, progressive: bool) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (2000, 2000)).save(buffer, 'jpeg', quality=1, optimize=True, progressive=progressive)
    assert read_image('flat.jpg', buffer.getvalue()).pixels.shape[:2] == (2000, 2000)


@pytest.mark.parametrize('filler', [b'', b'\xff\xd3'])
def test_a_jpeg_with_a_gap_is_refused_in_silence(filler: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((80, 80), 50).save(buffer, 'jpeg')
    content = buffer.getvalue()
    middle = len(content) // 2
    content = content[:middle] + (filler + content[middle + 100:] if filler else content[-2:])
    for read in (lambda: read_image('gap.jpg', content), lambda: decode(content, 'gap.jpg')):
        with pytest.raises(VapsrError, match=r'gap\.jpg cannot be read as an image: .*premature end of data segment'):
            read()
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(('mode', 'settings'), [('RGB', dict(subsampling=0)), ('RGB', dict(subsampling=1)), ('L', {}),
                                                ('RGB', dict(subsampling=2)), ('RGB', dict(progressive=True))])
def test_jpegs_are_decoded_as_opencv_decodes_them(mode: str, settings: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((61, 37), 50).convert(mode).rotate(30).save(buffer, 'jpeg', quality=80, **settings)
    content = buffer.getvalue()
    assert np.array_equal(decode(content, 'x.jpg'), cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize(('bits', 'colours'), [(3, 2), (8, 9), (16, 3), (0, 0)])
def test_a_png_of_no_known_kind_is_refused_in_silence(bits: int, colours: int, capfd: pytest.CaptureFixture[str]) -> None:
    content = b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', struct.pack('>IIBBBBB', 4, 4, bits, colours, 0, 0, 0)) \
        + png_chunk(b'IDAT', zlib.compress(bytes(99))) + png_chunk(b'IEND', b'')
    for read in (lambda: read_image('x.png', content), lambda: decode(content, 'x.png')):
        with pytest.raises(VapsrError, match=r'x\.png cannot be read as an image: its header is damaged$'):
            read()
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(('mode', 'size'), [('RGB', 2), ('RGBA', 6), ('L', 1), ('LA', 2)])
def test_a_transparent_colour_that_is_damaged(mode: str, size: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'x.png'
    Image.new(mode, (5, 4), 77).save(path)
    with_png_chunks(path, png_chunk(b'tRNS', bytes(size)))
    for read in (lambda: read_image(path).pixels[0, 0, 0], lambda: read_as_it_is(path).flat[-1]):
        assert read() == 77
    assert capfd.readouterr() == ('', '')


ROWS = (b'\0' + bytes(24)) * 8
DAMAGED_PNGS = {
    'too few rows': zlib.compress(ROWS[:40]), 'no rows': zlib.compress(b''), 'no zlib': b'x' * 20,
    'no filter': zlib.compress(b'\7' * 200),
    'another sum': zlib.compress(ROWS)[:-4] + b'abcd', 'no sum': zlib.compress(ROWS)[:-4]}


@pytest.mark.parametrize('data', DAMAGED_PNGS.values(), ids=DAMAGED_PNGS)
def test_a_png_whose_sums_are_right_is_refused_in_silence(data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'x.png'
    header = struct.pack('>IIBBBBB', 8, 8, 8, 2, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header) + png_chunk(b'IDAT', data) + png_chunk(b'IEND', b''))
    with ThreadPoolExecutor(4) as pool:
        faults = [pool.submit(read_as_it_is, path).exception() for _ in range(20)]
    assert all(isinstance(fault, VapsrError) for fault in faults)
    with pytest.raises(VapsrError):
        read_image(path)
    assert capfd.readouterr() == ('', '')
    library = glibc()
    if library:  # what C libraries print otherwise is seen
        library.fputs(b'seen', ctypes.c_void_p.in_dll(library, 'stderr'))
        assert capfd.readouterr().err == 'seen'


@pytest.mark.parametrize('kind', [b'IDAT', b'tEXt', b'iCCP'])
def test_a_chunk_that_is_said_to_be_larger_than_its_file(kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'x.png'
    Image.new('RGB', (8, 8)).save(path)
    with_png_chunks(path, b'\x7f\xff\xff\xf0' + kind + b'x' * 20)
    monkeypatch.setattr(cv2, 'imdecode', lambda *arguments: pytest.fail('OpenCV takes 2 GiB for it'))
    with pytest.raises(VapsrError, match='cannot be decoded: the file is damaged'):
        read_as_it_is(path)
    with pytest.raises(VapsrError):
        read_image(path)


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
def test_cmyk_is_converted_and_reported(kind: str, tmp_path: Path) -> None:
    Image.new('CMYK', (4, 4), (0, 0, 0, 0)).save(tmp_path / 'x', kind)
    read = read_image(tmp_path / 'x')
    assert (read.pixels > 250).all() and read.pixels.shape == (4, 4, 3) and 'CMYK' in read.notes[0]


def _cmyk_profile() -> bytes:
    """The one that libvips brings."""
    grey = pyvips.Image.black(1, 1, bands=3).copy(interpretation='srgb')
    return grey.icc_transform('cmyk', input_profile='srgb').get('icc-profile-data')


PROFILES = {'a standard profile, as its own is for RGB, not CMYK':
            ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes(),
            'a standard profile, as its own is damaged': 40 * b'garbage',
            'its ICC profile': _cmyk_profile()}


@pytest.mark.parametrize('kind', ['jpeg', 'tiff'])
@pytest.mark.parametrize('by', PROFILES)
def test_which_profile_converts_cmyk(kind: str, by: str, tmp_path: Path) -> None:
    image = Image.new('CMYK', (4, 4), (200, 30, 90, 20))
    image.save(tmp_path / 'with', kind, icc_profile=PROFILES[by])
    image.save(tmp_path / 'without', kind)
    read, plain = read_image(tmp_path / 'with'), read_image(tmp_path / 'without')
    assert np.array_equal(read.pixels, plain.pixels) and read.icc is None
    assert read.notes == (f'it is CMYK and was converted to sRGB by {by}',)


def test_an_apng_is_refused(tmp_path: Path) -> None:
    Image.new('RGB', (4, 4), 'red').save(tmp_path / 'x.png', save_all=True, append_images=[Image.new('RGB', (4, 4), 'blue')])
    with pytest.raises(VapsrError, match='has 2 images'):
        read_image(tmp_path / 'x.png')
