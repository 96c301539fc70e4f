"""Pictures with what a photographer wants kept: 16 bits, alpha, EXIF and the ICC profile."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from vapsr_arch.data.images import raw_mode
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.inference.formats import FORMATS

_OPTIONS = {'jpeg': dict(quality=95, subsampling=0), 'webp': dict(quality=95), 'tiff': dict(compression='tiff_lzw')}
_LARGEST_SIDE = {'jpeg': 65500, 'webp': 16383}
_KEPT_AS_THEY_ARE = ('L', 'LA', 'RGB', 'RGBA')
_CONVERTED = {'1': 'L', 'La': 'LA', 'RGBa': 'RGBA', 'YCbCr': 'RGB', 'RGBX': 'RGB'}
# EXIF orientation: whether height and width are swapped, then the axes that are reversed.
_ORIENTATIONS = {1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
                 5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}
# TIFF's tags of how its pixels lie in the file: they are a TIFF's own and no other file's.
_LAYOUT_TAGS = (*range(254, 267), 273, *range(277, 282), 284, 292, 293, *range(317, 326), 330, 338, 339, 347, 530, 531, 532,
                34675)


class Photograph(NamedTuple):
    """A picture.

    Attributes:
        pixels: H x W x 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), uint8 or uint16; turned as it is to be seen.
        exif: Its EXIF, which says nothing of orientation, nor of how a TIFF lies in its file; None without any.
        icc: Its ICC profile.
        notes: What the file has and this has not.
    """

    pixels: np.ndarray
    exif: Image.Exif | None = None
    icc: bytes | None = None
    notes: tuple[str, ...] = ()


def read_photograph(path: str | os.PathLike) -> Photograph:
    """Reads a picture; palettes become RGB, single bits grey.

    Raises:
        VapsrError: The file is missing, damaged, not a picture of a known format, or of several pictures, CMYK or of more
            than 16 bits.
    """
    try:
        with Image.open(path) as image:
            kind = 'jpeg' if image.format == 'MPO' else str(image.format).lower()
            if kind not in FORMATS:
                raise VapsrError(f'{path} is a {image.format} file: take {", ".join(FORMATS)}')
            frames = getattr(image, 'n_frames', 1)
            if frames > 1 and image.format != 'MPO':
                raise VapsrError(f'{path} has {frames} pictures, an animation or pages: split it into files of one each')
            samples = raw_mode(image)
            image.load()
            pixels = _deep_pixels(path, samples) if '16' in samples else np.asarray(_plain(image, path))
            exif, icc = image.getexif(), image.info.get('icc_profile')
    except FileNotFoundError:
        raise VapsrError(f'{path}: there is no such picture') from None
    except UnidentifiedImageError:
        raise VapsrError(f'{path} is not a picture, or of an unknown format') from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, cv2.error) as error:
        raise VapsrError(f'{path} cannot be read as a picture: {error}') from None
    notes = [f'of its {frames} pictures, the first was taken'] if frames > 1 else []
    swapped, reversed_axes = _ORIENTATIONS.get(exif.pop(ExifTags.Base.Orientation, 1), _ORIENTATIONS[1])
    for tag in _LAYOUT_TAGS:
        exif.pop(tag, None)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = np.ascontiguousarray(np.flip(pixels.swapaxes(0, 1) if swapped else pixels, reversed_axes))
    try:
        exif.tobytes()
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError, OSError, struct.error):  # whatever is in it
        exif, notes = None, [*notes, 'its EXIF is damaged and was left out']
    return Photograph(pixels, exif or None, icc, tuple(notes))


def _plain(image: Image.Image, path: str | os.PathLike) -> Image.Image:
    """An image of 8 bits in a mode of `_KEPT_AS_THEY_ARE`."""
    if image.mode == 'P' or 'transparency' in image.info:
        alpha = 'transparency' in image.info
        return image.convert(('LA' if image.mode in ('L', '1') else 'RGBA') if alpha else 'RGB')
    if image.mode in _CONVERTED:
        return image.convert(_CONVERTED[image.mode])
    if image.mode not in _KEPT_AS_THEY_ARE:
        raise VapsrError(f'{path} is of the kind {image.mode}: convert it to grey or RGB, of 8 or 16 bits, first')
    return image


def _deep_pixels(path: str | os.PathLike, samples: str) -> np.ndarray:
    """The pixels of a 16-bit file, which Pillow reduces to 8 bits, by OpenCV; `samples` as `raw_mode` has it."""
    # Pillow has loaded the file, so that it is whole: of one that is cut off, OpenCV would make the best.
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or samples.startswith('RGBa'):
        raise VapsrError(f'{path} is of 16 bits and of a kind that is not read ({samples}): convert it to RGB or RGBA')
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if samples.startswith('LA'):
        pixels = pixels[..., [0, 3]]
    return pixels


def check_fits(kind: str, height: int, width: int, photograph: Photograph) -> None:
    """Checks that a file of a format can hold a picture.

    Args:
        kind: The format, of `FORMATS`.
        height: Its height in pixels.
        width: Its width.
        photograph: The picture, of whatever size.

    Raises:
        VapsrError: It cannot; the sentence has no file's name.
    """
    largest = _LARGEST_SIDE.get(kind)
    has_alpha = photograph.pixels.shape[2] in (2, 4)
    lacking = [what for what, lacks in (
        (f'more than {largest} pixels a side ({width}x{height})', largest and max(height, width) > largest),
        ('16 bits a channel', photograph.pixels.dtype == np.uint16 and kind not in ('png', 'tiff')),
        ('16 bits with grey and alpha', kind == 'tiff' and photograph.pixels.dtype == np.uint16
         and photograph.pixels.shape[2] == 2),
        ('alpha', has_alpha and kind in ('jpeg', 'bmp')),
        ('EXIF', photograph.exif and kind == 'bmp'),
        ('an ICC profile', photograph.icc and kind == 'bmp')) if lacks]
    if lacking:
        raise VapsrError(f'{kind} files cannot hold {" nor ".join(lacking)}: take --format {"png" if kind != "png" else "tiff"}')


def write_photograph(path: str | os.PathLike, kind: str, photograph: Photograph) -> None:
    """Writes a picture, whole or not at all: PNG and TIFF without loss, JPEG (4:4:4) and WebP of quality 95.

    Args:
        path: Where to.
        kind: The format, of `FORMATS`.
        photograph: The picture; the dimensions in its EXIF become its own.

    Raises:
        VapsrError: The format cannot hold it, or its encoder fails; the sentence has no file's name.
        OSError: As the system says.
    """
    pixels, exif, icc, _ = photograph
    height, width, channels = pixels.shape
    check_fits(kind, height, width, photograph)
    with written_whole(path) as temporary:
        try:
            exif_bytes = _exif_bytes(exif, height, width) if exif else b''
            if kind in ('png', 'tiff') and (channels != 2 or pixels.dtype == np.uint16):
                temporary.write_bytes(_encoded(kind, pixels, exif_bytes, icc))
            else:
                metadata = dict(exif=exif_bytes, icc_profile=icc) if kind in ('png', 'jpeg', 'webp') else {}
                Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(
                    temporary, kind, **_OPTIONS.get(kind, {}), **{name: value for name, value in metadata.items() if value})
            if kind == 'tiff':
                _add_tags(temporary, exif, icc, has_alpha=channels == 4)
        except (cv2.error, ValueError, RuntimeError, struct.error) as error:
            reason = str(error).strip().splitlines()[0]
            raise VapsrError(f'{width}x{height} pixels cannot be written as {kind}: {reason}') from None


def _exif_bytes(exif: Image.Exif, height: int, width: int) -> bytes:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, size in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
        if tag in details:
            details[tag] = size
    return exif.tobytes()


def _encoded(kind: str, pixels: np.ndarray, exif: bytes, icc: bytes | None) -> np.ndarray:
    """The bytes of a PNG with its metadata, or of a TIFF without, by OpenCV: it takes 16 bits, and half of Pillow's time."""
    kinds = [cv2.IMAGE_METADATA_EXIF] * bool(exif) + [cv2.IMAGE_METADATA_ICCP] * bool(icc)
    chunks = [np.frombuffer(chunk, np.uint8) for chunk in (exif.removeprefix(b'Exif\0\0'), icc) if chunk]
    channels = pixels.shape[2]
    deep_grey_alpha = channels == 2
    if deep_grey_alpha:  # four bytes a pixel, as RGBA has in 8 bits: OpenCV knows that
        pixels, channels = pixels.astype('>u2').view(np.uint8), 4
    if channels > 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA)
    if kind == 'tiff':
        return cv2.imencode('.tif', pixels)[1]
    content = cv2.imencodeWithMetadata('.png', pixels, kinds, chunks)[1]
    if deep_grey_alpha:  # so that only the header has to say otherwise
        content[24:26] = 16, 4  # bits, colour type
        content[29:33] = np.frombuffer(struct.pack('>I', zlib.crc32(content[12:29])), np.uint8)
    return content


def _add_tags(path: Path, exif: Image.Exif | None, icc: bytes | None, has_alpha: bool) -> None:
    """Gives a TIFF metadata: a directory at its end, with the entries of the one it has, takes the place of that."""
    added = TiffImagePlugin.ImageFileDirectory_v2()
    if exif:
        added.update({tag: value for tag, value in exif.items() if tag not in tuple(ExifTags.IFD)})
        added.update({part: exif.get_ifd(part) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if exif.get_ifd(part)})
    if icc:
        added[34675] = icc
    if has_alpha:
        added[338] = 2  # not multiplied with the colours
    with path.open('r+b') as file:
        file.seek(4)
        present = _entries(file, *struct.unpack('<I', file.read(4)))
        end = file.seek(0, io.SEEK_END)
        end += file.write(b'\0' * (end % 2))
        file.write(added.tobytes(end))
        entries = present | _entries(file, end)
        directory = file.seek(0, io.SEEK_END)
        directory += file.write(b'\0' * (directory % 2))
        file.write(struct.pack('<H', len(entries)) + b''.join(entry for _, entry in sorted(entries.items())) + b'\0' * 4)
        file.seek(4)
        file.write(struct.pack('<I', directory))


def _entries(file: BinaryIO, offset: int) -> dict[int, bytes]:
    """The entries of a TIFF's directory by tag, as they are; little-endian, which OpenCV and Pillow write."""
    file.seek(offset)
    count, = struct.unpack('<H', file.read(2))
    entries = [file.read(12) for _ in range(count)]
    return {struct.unpack('<H', entry[:2])[0]: entry for entry in entries}
