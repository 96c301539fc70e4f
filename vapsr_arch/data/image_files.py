"""The reader of image files: pixels as they are to be seen, and what files say beside them. Other pixels never come out."""

import io
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from vapsr_arch.data import image_metadata, image_tiff
from vapsr_arch.data.image_netpbm import DeepNetpbm
from vapsr_arch.data.image_opening import PILLOW_MODES, TYPES, Opened, opened_image, vips_reason, vips_warning
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.errors import VapsrError

# EXIF orientation: whether height and width are swapped, then the axes that are reversed.
_ORIENTATIONS = {1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
                 5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}
_LARGEST_RESOLUTION = 1e6  # pixels per millimetre; libvips takes no more
_JPEG_GAP = 'premature end of data segment'
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
            return _read(opened_image(file, path), path)
    except OSError as error:
        raise VapsrError(f'{path} cannot be read: {error.strerror or error}') from None


def read_header(path: str | os.PathLike) -> Header:
    """Reads an image's size and kind without its pixels.

    Raises:
        VapsrError: As `read_image` does.
    """
    try:
        with _file(path, None) as file:
            opened = opened_image(file, path)
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


def _read(opened: Opened, path: str | os.PathLike) -> ImageData:
    if isinstance(opened.image, DeepNetpbm):
        try:
            return ImageData(opened.image.pixels(opened.file))
        except ValueError as error:
            raise VapsrError(f'{path} cannot be read as an image: {error}') from None
    if isinstance(opened.image, Image.Image):
        try:
            image = opened.image.convert(PILLOW_MODES[opened.image.mode])
        except Exception as error:  # a damaged file can make Pillow raise anything
            raise VapsrError(f'{path} cannot be read as an image: {error if str(error) else type(error).__name__}') from None
        pixels = np.asarray(image)
        across, down = opened.image.info.get('dpi', (0, 0))
        return ImageData(np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[..., None]),
                         resolution=_possible(across / 25.4, down / 25.4))
    image, notes, icc = opened.image, [], None
    if image.get_typeof('icc-profile-data'):
        icc = image.get('icc-profile-data')
    if image.interpretation == 'cmyk':
        fault = image_metadata.icc_fault(icc, 'CMYK') if icc else 'is missing'
        by = f'a standard profile, as its own {fault}' if fault else 'its ICC profile'
        notes.append(f'it is CMYK and was converted to sRGB by {by}')
        if icc and fault:
            image = image.copy()
            image.remove('icc-profile-data')
        deep, icc = image.format == 'ushort', None
        image = _converted(image, 16 if deep else 8, path)
    if icc and (fault := image_metadata.icc_fault(icc, 'GRAY' if image.bands < 3 else 'RGB')):
        notes.append(f'its ICC profile {fault} and was left out')
        icc = None
    if not icc and not notes and opened.kind == 'png' and image_metadata.png_has_profile(opened.file):
        notes.append('its ICC profile is damaged, or is for other colours, and was left out')  # libvips says nothing
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


def _resolution(opened: Opened) -> tuple[float, float] | None:
    """Pixels per millimetre, across and down; None if the file does not say, for which libvips has values of its own."""
    image = opened.image
    unit = image.get('resolution-unit') if image.get_typeof('resolution-unit') else None
    if unit not in ('in', 'cm') and not (opened.kind == 'png' and image_metadata.png_has_resolution(opened.file)):
        return None
    return _possible(image.xres, image.yres)


def _possible(across: float, down: float) -> tuple[float, float] | None:
    return (across, down) if all(0 < size <= _LARGEST_RESOLUTION for size in (across, down)) else None


def _converted(image: pyvips.Image, depth: int, path: str | os.PathLike) -> pyvips.Image:
    try:
        return image.icc_transform('srgb', embedded=True, input_profile='cmyk', depth=depth)
    except pyvips.Error as error:
        raise VapsrError(f'{path} is CMYK and cannot be converted to RGB: {vips_reason(error)}') from None


def _pixels(image: pyvips.Image, path: str | os.PathLike) -> np.ndarray:
    """Decodes: H x W x C."""
    begin_work(path)
    dtype = TYPES[image.format]
    try:
        pixels = np.frombuffer(image.write_to_memory(), dtype)
    except pyvips.Error as error:
        raise VapsrError(f'{path} cannot be read as an image: {vips_reason(error)}') from None
    except MemoryError:
        raise VapsrError(f'{path}: there is not enough memory for {image.width}x{image.height} pixels') from None
    # Of a JPEG, libvips takes a gap in the data for a mere warning, as those are that many cameras' files cause.
    if reason := vips_warning(_JPEG_GAP):
        raise VapsrError(f'{path} cannot be read as an image: {reason}')
    return pixels.reshape(image.height, image.width, image.bands)


def _exif(opened: Opened) -> tuple[Image.Exif | None, list[str]]:
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
