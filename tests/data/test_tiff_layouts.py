"""Layouts of TIFF that tifffile writes without more codecs: the pixels that tifffile reads, or a refusal; never others."""

import itertools
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags

from vapsr_arch.data.image_files import read_image
from vapsr_arch.data.images import decode, read_as_it_is
from vapsr_arch.errors import VapsrError

HEIGHT, WIDTH = 37, 21
COLOURS = {'minisblack': 1, 'miniswhite': 1, 'rgb': 3, 'palette': 1, 'separated': 4, 'ycbcr': 3, 'cielab': 3}


def _samples(dtype: str, channels: int) -> np.ndarray:
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == 'f':
        return random.random((HEIGHT, WIDTH, channels)).astype(dtype)
    if dtype == '?':
        return random.integers(0, 2, (HEIGHT, WIDTH, channels)).astype(bool)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def _write(path: Path, samples: np.ndarray, photometric: str, planar: str, **options: object) -> bool:
    """Whether tifffile writes it at all."""
    channels = samples.shape[2]
    layout = samples[..., 0] if channels == 1 else samples.transpose(2, 0, 1) if planar == 'separate' else samples
    if channels > 1:
        options['planarconfig'] = planar
    if extra := channels - COLOURS[photometric]:
        options['extrasamples'] = ['unassalpha'] + ['unspecified'] * (extra - 1)
    if photometric == 'palette':
        options['colormap'] = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            tifffile.imwrite(path, layout, photometric=photometric, metadata=None, **options)
    except (ValueError, TypeError, KeyError, RuntimeError):
        return False
    return True


def _as_it_is_to_be_seen(path: Path) -> np.ndarray | None:
    """H x W x C as tifffile reads it; None for what is no grey or RGB image of 1, 8 or 16 bits."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        photometric = page.photometric.name.lower()
        try:
            pixels = page.asarray()
        except ValueError:  # of single bits, tifffile reads one sample a pixel
            return None
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            pixels = pixels.transpose(1, 2, 0)
        pixels = pixels.reshape(HEIGHT, WIDTH, -1)
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * 255
        if pixels.dtype not in (np.uint8, np.uint16) or photometric not in ('minisblack', 'miniswhite', 'rgb', 'palette') \
                or pixels.shape[2] - COLOURS[photometric] > 1:
            return None
        if photometric == 'palette':
            return (page.colormap[:, pixels[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if photometric == 'miniswhite':
            pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
        return pixels


@pytest.mark.parametrize('photometric', COLOURS)
@pytest.mark.parametrize('dtype', ['?', 'u1', 'u2', 'u4', 'i1', 'i2', 'f2', 'f4', 'f8'])
def test_layouts(dtype: str, photometric: str, tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    refused, written, wrong = [], 0, []
    orders = '>' if dtype[-1] == '1' else '<>'  # of bytes
    for channels, planar, tile, compression, predictor, order in itertools.product(
            range(COLOURS[photometric], 6), ('contig', 'separate'), (None, (16, 16)), (None, 'zlib'), (None, True), orders):
        case = (channels, planar, tile, compression, predictor, order)
        if (channels == 1 and planar == 'separate') or not _write(
                path, _samples(dtype, channels), photometric, planar, tile=tile, compression=compression, predictor=predictor,
                byteorder=order, rowsperstrip=None if tile else 10):
            continue
        written += 1
        wanted = _as_it_is_to_be_seen(path)
        try:
            read = read_image(path).pixels
        except VapsrError as error:
            assert str(path) in str(error) and '\n' not in str(error)
            refused.append(case)
            continue
        if photometric == 'separated':  # CMYK is converted
            if channels != 4 or dtype not in ('u1', 'u2') or read.shape[2] != 3:
                wrong.append(case)
            continue
        if wanted is None or read.dtype != wanted.dtype or not np.array_equal(read, wanted):
            wrong.append(case)
    assert not wrong
    usual = [case for case in refused if case[1] == 'contig' and case[0] - COLOURS[photometric] < 2]
    if dtype in ('u1', 'u2') and photometric in ('minisblack', 'miniswhite', 'rgb'):
        assert written and not usual


@pytest.mark.parametrize('compression', ['lzma', 'zlib'])
def test_compressions(compression: str, tmp_path: Path) -> None:
    path, samples = tmp_path / 'x.tif', _samples('u1', 3)
    tifffile.imwrite(path, samples, photometric='rgb', compression=compression)
    if compression == 'lzma':
        with pytest.raises(VapsrError, match=r'is compressed by a method that is not read \(34925\): write it with LZW'):
            read_image(path)
    else:
        assert np.array_equal(read_image(path).pixels, samples)


@pytest.mark.parametrize('dtype', ['u1', 'u2'])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
def test_the_data_tools_read_the_same(planar: str, dtype: str, tmp_path: Path) -> None:
    path, samples = tmp_path / 'x.tif', _samples(dtype, 4)
    _write(path, samples, 'rgb', planar)
    assert np.array_equal(read_as_it_is(path), samples[..., 2::-1])
    eight_bits = samples[..., 2::-1] >> (8 if dtype == 'u2' else 0)
    assert np.array_equal(decode(path.read_bytes(), path), eight_bits)
    assert np.array_equal(decode(path.read_bytes(), path, cv2.IMREAD_ANYCOLOR), eight_bits)


@pytest.mark.parametrize('order', ['<', '>'])
def test_large_files_are_the_same_as_small_ones(order: str, tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    for photometric, dtype, tile in itertools.product(('minisblack', 'rgb'), ('u1', 'u2'), (None, (16, 16))):
        samples = _samples(dtype, COLOURS[photometric])
        _write(path, samples, photometric, 'contig', bigtiff=True, byteorder=order, tile=tile, software='Software')
        read = read_image(path)
        assert np.array_equal(read.pixels, samples) and read.exif[ExifTags.Base.Software] == 'Software'


def _few_bits(samples: np.ndarray, bits: int, photometric: int, order: str, colours: np.ndarray) -> bytes:
    """A TIFF of one strip of H x W samples of 1, 2 or 4 bits."""
    unpacked = np.unpackbits(samples[..., None], axis=2)[..., 8 - bits:].reshape(HEIGHT, -1)
    strip = np.packbits(unpacked, axis=1).tobytes()
    palette = colours.astype(f'{order}u2').tobytes()
    tags = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 3, 1, HEIGHT), (279, 4, 1, len(strip)), (320, 3, colours.size, 8 + len(strip))]
    entries = [struct.pack(f'{order}HHI', *tag[:3]) + struct.pack(order + ('I' if tag[1] == 4 or tag[2] > 1 else 'Hxx'), tag[3])
               for tag in tags[:None if photometric == 3 else -1]]
    return (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}I', 8 + len(strip) + len(palette)) + strip + palette \
        + struct.pack(f'{order}H', len(entries)) + b''.join(entries) + b'\0' * 4


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('bits', [1, 2, 4])
def test_few_bits_are_of_the_whole_range(bits: int, order: str) -> None:
    random = np.random.default_rng(0)
    samples = random.integers(0, 2 ** bits, (HEIGHT, WIDTH), np.uint8)
    colours = random.integers(0, 65536, (3, 2 ** bits), np.uint16)
    grey = samples * (255 // (2 ** bits - 1))
    for photometric, expected in ((0, 255 - grey[..., None]), (1, grey[..., None]),
                                  (3, (colours[:, samples] >> 8).transpose(1, 2, 0))):
        read = read_image('x.tif', _few_bits(samples, bits, photometric, order, colours)).pixels
        assert read.dtype == np.uint8 and np.array_equal(read, expected)


@pytest.mark.parametrize('bigtiff', [False, True])
@pytest.mark.parametrize('order', ['<', '>'])
def test_tags_in_another_order_and_twice(order: str, bigtiff: bool, tmp_path: Path) -> None:
    samples, path = _samples('u1', 3), tmp_path / 'x.tif'
    tifffile.imwrite(path, samples, photometric='rgb', byteorder=order, bigtiff=bigtiff, description='two descriptions',
                     extratags=[(274, 3, 1, 9)])  # an orientation that is none
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].offset, 20 if bigtiff else 12
    assert np.array_equal(read_image(path).pixels, samples) and np.array_equal(read_as_it_is(path), samples[..., ::-1])
    content = bytearray(path.read_bytes())
    begin = start + (8 if bigtiff else 2)
    count, = struct.unpack_from(f'{order}{"Q" if bigtiff else "H"}', content, start)
    entries = [bytes(content[place:place + size]) for place in range(begin, begin + size * count, size)]
    content[begin:begin + size * count] = b''.join(reversed(entries))
    assert np.array_equal(read_image(path, bytes(content)).pixels, samples)
    width, = (entry for entry in entries if struct.unpack_from(f'{order}H', entry) == (256,))
    entries[-1] = width[:-2] + b'\1\1'
    content[begin:begin + size * count] = b''.join(entries)
    with pytest.raises(VapsrError, match=r'x\.tif'):
        read_image(path, bytes(content))


@pytest.mark.parametrize('start', [2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_directory_beyond_the_file(start: int, tmp_path: Path) -> None:
    path = tmp_path / 'x.tif'
    path.write_bytes(b'II+\0\x08\0\0\0' + struct.pack('<Q', start) + bytes(40))
    for content in (path.read_bytes(), None):
        with pytest.raises(VapsrError, match=r'x\.tif'):
            read_image(path, content)
