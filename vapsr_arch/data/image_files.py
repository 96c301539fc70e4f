"""The reader of image files: libvips, and Pillow for BMP and PPM of 8 bits. Other pixels than the file's never come out.

libvips reads 16 bits, tiles, ICC profiles and EXIF, row by row; what it would read otherwise than the file means is refused.
"""

import io
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from vapsr_arch.data import image_metadata, image_tiff
from vapsr_arch.data.image_formats import FORMATS, foreign_format
from vapsr_arch.data.image_netpbm import DeepNetpbm
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import check_memory

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit refuses real panoramas; here, sizes are compared with the free memory

_KINDS = {'jpegload': 'jpeg', 'pngload': 'png', 'webpload': 'webp', 'tiffload': 'tiff', 'heifload': 'avif'}
_PILLOW_MODES = {'1': 'L', 'L': 'L', 'P': 'RGB', 'RGB': 'RGB', 'RGBA': 'RGBA'}
_TYPES = {'uchar': np.uint8, 'ushort': np.uint16}
_CHANNELS = {'b-w': (1, 2), 'grey16': (1, 2), 'srgb': (3, 4), 'rgb16': (3, 4), 'cmyk': (4,)}
# EXIF orientation: whether height and width are swapped, then the axes that are reversed.
_ORIENTATIONS = {1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
                 5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}
_used_in: set[int] = set()  # the processes in which libvips has threads: this one, or what this one was forked from


class ImageData(NamedTuple):
    """An image.

    Attributes:
        pixels: H x W x 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), uint8 or uint16; turned as it is to be seen;
            colours are not multiplied with alpha.
        exif: Its EXIF, which says nothing of orientation, nor of how a TIFF lies in its file; None without any.
        icc: Its ICC profile.
        xmp: Its XMP.
        notes: What the file has and this image does not.
        resolution: Pixels per millimetre, across and down; None if the file does not say.
    """

    pixels: np.ndarray
    exif: Image.Exif | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    notes: tuple[str, ...] = ()
    resolution: tuple[float, float] | None = None


class Header(NamedTuple):
    """What a file says of its image, as it is to be seen."""

    height: int
    width: int
    is_16bit: bool
    has_alpha: bool


class _Opened(NamedTuple):
    """A file whose pixels are not decoded yet."""

    kind: str
    image: pyvips.Image | Image.Image | DeepNetpbm
    file: io.BufferedReader | io.BytesIO
    orientation: int


def vips_reason(error: pyvips.Error) -> str:
    """The first thing that libvips complains of."""
    lines = [line.strip() for line in str(error.detail or error).splitlines() if line.strip()]
    return lines[0] if lines else 'no reason is given'


def read_image(path: str | os.PathLike, content: bytes | None = None) -> ImageData:
    """Reads an image; palettes become RGB, single bits grey, CMYK sRGB.

    Args:
        path: The file, and what errors call it.
        content: The file's bytes, if they exist already.

    Raises:
        VapsrError: The file is missing, damaged, not an image of a known format, larger than the memory, of several images,
            or of a layout that is not read; the sentence says which.
    """
    try:
        with _file(path, content) as file:
            return _read(_opened(file, path), path)
    except OSError as error:
        raise VapsrError(f'{path} cannot be read: {error.strerror or error}') from None


def read_header(path: str | os.PathLike) -> Header:
    """Reads an image's size and kind without its pixels.

    Raises:
        VapsrError: As `read_image` does.
    """
    try:
        with _file(path, None) as file:
            opened = _opened(file, path)
    except OSError as error:
        raise VapsrError(f'{path} cannot be read: {error.strerror or error}') from None
    image = opened.image
    width, height = image.width, image.height
    if _ORIENTATIONS[opened.orientation][0]:
        width, height = height, width
    if isinstance(image, DeepNetpbm):
        return Header(height, width, True, False)
    if isinstance(image, Image.Image):
        return Header(height, width, False, 'A' in image.mode)
    return Header(height, width, image.format == 'ushort', image.hasalpha())


def is_usable() -> bool:
    """Whether libvips can work on pixels in this process: not in a fork of one in which it has threads.

    libvips believes that it has them in the fork too, and would wait for ever: see `image_process`.
    """
    return not _used_in or os.getpid() in _used_in


def begin_work(path: str | os.PathLike) -> None:
    """Is called before libvips works on pixels, which it has threads do.

    Raises:
        VapsrError: It cannot, in this process.
    """
    if not is_usable():
        raise VapsrError(f'{path}: a process made by fork cannot work on a file of this format after its parent did')
    _used_in.add(os.getpid())


def _file(path: str | os.PathLike, content: bytes | None) -> io.BufferedReader | io.BytesIO:
    if content is not None:
        return io.BytesIO(content)
    try:
        return open(path, 'rb')
    except FileNotFoundError:
        raise VapsrError(f'{path}: there is no such image') from None


def _opened(file: io.BufferedReader | io.BytesIO, path: str | os.PathLike) -> _Opened:
    """Reads what a file says of itself, and refuses what cannot be decoded as it is meant."""
    start = file.read(12)
    if start[:2] == b'BM' or start[:2] in (b'P1', b'P2', b'P3', b'P4', b'P5', b'P6'):
        return _opened_by_pillow(file, path)
    try:
        if isinstance(file, io.BytesIO):
            source = pyvips.Source.new_from_memory(file.getvalue())
        else:
            source = pyvips.Source.new_from_file(os.fsencode(path))
        # Of a TIFF's tiles that cannot be decoded, libvips would make black ones and a warning.
        image = pyvips.Image.new_from_source(source, '', access='sequential',
                                             fail_on='warning' if start[:2] in (b'II', b'MM') else 'error')
        kind = _KINDS.get(image.get('vips-loader').partition('_')[0])
    except pyvips.Error as error:
        if name := foreign_format(start):
            raise VapsrError(f'{path} is a {name} file: take {", ".join(FORMATS)}') from None
        reason = vips_reason(error)
        if 'known' in reason or 'unable to load from source' in reason or not start:
            raise VapsrError(f'{path} is not an image, or of an unknown format') from None
        raise VapsrError(f'{path} cannot be read as an image: {reason}') from None
    if kind is None:
        raise VapsrError(f'{path} is a {foreign_format(start) or image.get("vips-loader")} file: take {", ".join(FORMATS)}')
    frames = image.get('n-pages') if image.get_typeof('n-pages') else 1
    if kind == 'png':
        for name, data in image_metadata.png_chunks(file):
            frames = int.from_bytes(data[:4], 'big') if name == 'acTL' else frames
    if frames > 1:
        raise VapsrError(f'{path} has {frames} images, an animation or pages: split it into files of one each')
    if kind == 'tiff':
        try:
            image_tiff.check_layout(file)
        except ValueError as error:
            raise VapsrError(f'{path} {error}') from None
    _check_samples(image, path)
    # A progressive JPEG's coefficients are all kept until its last byte.
    progressive = 2 if kind == 'jpeg' and image.get_typeof('interlaced') else 0
    check_memory(image.height, image.width, image.bands * (_TYPES[image.format]().itemsize + progressive), path)
    orientation = image.get('orientation') if image.get_typeof('orientation') else 1
    return _Opened(kind, image, file, orientation if orientation in _ORIENTATIONS else 1)


def _opened_by_pillow(file: io.BufferedReader | io.BytesIO, path: str | os.PathLike) -> _Opened:
    if deep := DeepNetpbm.of(file):
        check_memory(deep.height, deep.width, 6 * deep.channels, path)  # with the file's bytes, and to scale them
        return _Opened('ppm', deep, file, 1)
    file.seek(0)
    try:
        image = Image.open(file, formats=('BMP', 'PPM'))
        width, height = image.size
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise VapsrError(f'{path} cannot be read as an image: {error if str(error) else type(error).__name__}') from None
    if image.mode not in _PILLOW_MODES:
        raise VapsrError(f'{path} is a {image.format} file of the kind {image.mode}: convert it to PNG')
    if width < 1 or height < 1:
        raise VapsrError(f'{path} cannot be read as an image: its size is {width}x{height}')
    check_memory(height, width, 2 * len(_PILLOW_MODES[image.mode]), path)
    return _Opened(image.format.lower(), image, file, 1)


def _check_samples(image: pyvips.Image, path: str | os.PathLike) -> None:
    if image.format not in _TYPES:
        raise VapsrError(f'{path} has samples of the kind {image.format}: convert it to 8 or 16 bits')
    if image.bands not in _CHANNELS.get(image.interpretation, ()):
        raise VapsrError(f'{path} has {image.bands} channels of the kind {image.interpretation}: convert it to grey or RGB, '
                         f'with alpha or without')


def _read(opened: _Opened, path: str | os.PathLike) -> ImageData:
    if isinstance(opened.image, DeepNetpbm):
        try:
            return ImageData(opened.image.pixels(opened.file))
        except ValueError as error:
            raise VapsrError(f'{path} cannot be read as an image: {error}') from None
    if isinstance(opened.image, Image.Image):
        try:
            image = opened.image.convert(_PILLOW_MODES[opened.image.mode])
        except Exception as error:  # a damaged file can make Pillow raise anything
            raise VapsrError(f'{path} cannot be read as an image: {error if str(error) else type(error).__name__}') from None
        pixels = np.asarray(image)
        across, down = opened.image.info.get('dpi', (0, 0))
        return ImageData(np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None]),
                         resolution=(across / 25.4, down / 25.4) if across > 0 and down > 0 else None)
    image, notes, icc = opened.image, [], None
    if image.get_typeof('icc-profile-data'):
        icc = image.get('icc-profile-data')
    if image.interpretation == 'cmyk':
        by = 'its ICC profile' if icc else 'a standard profile, as it has none'
        notes.append(f'it is CMYK and was converted to sRGB by {by}')
        deep, icc = image.format == 'ushort', None
        image = _converted(image, 16 if deep else 8, path)
    if icc and (fault := image_metadata.icc_fault(icc, image.bands)):
        notes.append(f'its ICC profile {fault} and was left out')
        icc = None
    xmp = image.get('xmp-data').strip(b'\0 ') if image.get_typeof('xmp-data') else None
    if xmp and (fault := image_metadata.xmp_fault(xmp)):
        notes.append(f'its XMP {fault} and was left out')
        xmp = None
    exif, more = _exif(opened)
    pixels = _pixels(image, path)
    swapped, reversed_axes = _ORIENTATIONS[opened.orientation]
    pixels = np.ascontiguousarray(np.flip(pixels.swapaxes(0, 1) if swapped else pixels, reversed_axes))
    resolution = _resolution(opened)
    return ImageData(pixels, exif, icc, xmp or None, (*notes, *more), resolution[::-1] if swapped and resolution else resolution)


def _resolution(opened: _Opened) -> tuple[float, float] | None:
    """Pixels per millimetre, across and down; None if the file does not say, for which libvips has values of its own."""
    image = opened.image
    unit = image.get('resolution-unit') if image.get_typeof('resolution-unit') else None
    if unit not in ('in', 'cm') and not (opened.kind == 'png' and image_metadata.png_has_resolution(opened.file)):
        return None
    return (image.xres, image.yres) if image.xres > 0 and image.yres > 0 else None


def _converted(image: pyvips.Image, depth: int, path: str | os.PathLike) -> pyvips.Image:
    try:
        return image.icc_transform('srgb', embedded=True, input_profile='cmyk', depth=depth)
    except pyvips.Error as error:
        raise VapsrError(f'{path} is CMYK and cannot be converted to RGB: {vips_reason(error)}') from None


def _pixels(image: pyvips.Image, path: str | os.PathLike) -> np.ndarray:
    """Decodes: H x W x C."""
    begin_work(path)
    dtype = _TYPES[image.format]
    try:
        pixels = np.frombuffer(image.write_to_memory(), dtype)
    except pyvips.Error as error:
        raise VapsrError(f'{path} cannot be read as an image: {vips_reason(error)}') from None
    except MemoryError:
        raise VapsrError(f'{path}: there is not enough memory for {image.width}x{image.height} pixels') from None
    return pixels.reshape(image.height, image.width, image.bands)


def _exif(opened: _Opened) -> tuple[Image.Exif | None, list[str]]:
    """EXIF, and notes on what else the file says and is not kept."""
    notes, exif = [], None
    opened.file.seek(0)
    try:
        if opened.kind == 'tiff':
            exif = image_metadata.without_layout(image_tiff.exif(opened.file))
        elif opened.image.get_typeof('exif-data'):
            exif = image_metadata.without_layout(image_metadata.parsed_exif(opened.image.get('exif-data')))
    except ValueError:
        notes.append('its EXIF is damaged and was left out')
    if opened.kind == 'jpeg' and (frames := _jpeg_frames(opened.file)) > 1:
        notes.append(f'of its {frames} images, the first was taken')
    if opened.kind == 'png' and (chunks := image_metadata.colour_chunks(opened.file)):
        notes.append(f'what it says of its colours ({", ".join(chunks)}) was left out')
    return exif, notes


def _jpeg_frames(file: io.BufferedReader | io.BytesIO) -> int:
    """How many images a stereo JPEG or one with a preview (MPO) has."""
    file.seek(0)
    try:
        return getattr(Image.open(file, formats=('JPEG', 'MPO')), 'n_frames', 1)
    except Exception:  # damaged details, of which libvips makes nothing
        return 1
