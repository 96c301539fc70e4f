"""Opening image files: by libvips, and by Pillow for BMP and PPM of 8 bits.

What libvips would read otherwise than the file means is refused here, and what the memory is too small for.
"""

import io
import os
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from vapsr_arch.data import image_metadata, image_tiff
from vapsr_arch.data.image_formats import FORMATS, foreign_format
from vapsr_arch.data.image_netpbm import DeepNetpbm
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import check_memory

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit refuses honest panoramas: sizes are compared with the memory, here

_KINDS = {'jpegload': 'jpeg', 'pngload': 'png', 'webpload': 'webp', 'tiffload': 'tiff', 'heifload': 'avif'}
_JPEG_PIXELS_A_BYTE = 512  # at most: of every 64 pixels there is at least one bit
_TIFF = (b'II', b'MM')
PILLOW_MODES = {'1': 'L', 'L': 'L', 'P': 'RGB', 'RGB': 'RGB', 'RGBA': 'RGBA'}
TYPES = {'uchar': np.uint8, 'ushort': np.uint16}
_CHANNELS = {'b-w': (1, 2), 'grey16': (1, 2), 'srgb': (3, 4), 'rgb16': (3, 4), 'cmyk': (4,)}


class Opened(NamedTuple):
    """A file whose pixels are not decoded yet.

    Attributes:
        kind: Its format, of `FORMATS`.
        image: The image.
        file: The file, or its bytes.
        orientation: That of EXIF, 1 to 8.
    """

    kind: str
    image: pyvips.Image | Image.Image | DeepNetpbm
    file: io.BufferedReader | io.BytesIO
    orientation: int


def vips_reason(error: pyvips.Error) -> str:
    """The first thing that libvips complains of."""
    lines = [line.strip() for line in str(error.detail or error).splitlines() if line.strip()]
    return lines[0] if lines else 'no reason is given'


def vips_warning(text: str) -> str | None:
    """The warning with this text among those of libvips since an image was opened; None if there is none."""
    lines = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors='replace').splitlines()
    return next((line for line in lines if text in line), None)


def opened_image(file: io.BufferedReader | io.BytesIO, path: str | os.PathLike) -> Opened:
    """Opens an image without decoding its pixels.

    Args:
        file: The file, or its bytes.
        path: Its name, for messages.

    Raises:
        VapsrError: It is no image, damaged, of a format, kind or layout that is not read, has several images, or its pixels
            need more than the free memory.
    """
    pyvips.vips_lib.vips_error_clear()  # else it would give a warning of another image as the reason
    start = file.read(12)
    if start[:2] == b'BM' or start[:2] in (b'P1', b'P2', b'P3', b'P4', b'P5', b'P6'):
        return _opened_by_pillow(file, path)
    if start[:2] in _TIFF and (repaired := image_tiff.with_repaired_tags(file)):
        file = io.BytesIO(repaired)
    try:
        if isinstance(file, io.BytesIO):
            source = pyvips.Source.new_from_memory(file.getvalue())
        else:
            source = pyvips.Source.new_from_file(os.fsencode(path))
        # Of a TIFF's tiles that cannot be decoded, libvips would make black ones and a warning.
        image = pyvips.Image.new_from_source(source, '', access='sequential',
                                             fail_on='warning' if start[:2] in _TIFF else 'error')
        kind = _KINDS.get(image.get('vips-loader').partition('_')[0])
    except pyvips.Error as error:
        if name := foreign_format(start):
            raise VapsrError(f'{path} is a {name} file: take {", ".join(FORMATS)}') from None
        reason = vips_reason(error)
        if 'known' in reason or 'unable to load from source' in reason or not start:
            raise VapsrError(f'{path} is not an image, or of an unknown format') from None
        if start[:2] in _TIFF:
            _check_tiff(file, path)  # which knows a better reason
        if 'unable to call' in reason:
            reason = 'its header is damaged'
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
        _check_tiff(file, path)
        if image_tiff.has_next_page(file):  # libvips has not counted it
            raise VapsrError(f'{path} has a second page, which is damaged: write its first page alone into a file')
    _check_samples(image, path)
    # A progressive JPEG's coefficients are all kept until its last byte.
    progressive = 2 if kind == 'jpeg' and image.get_typeof('interlaced') else 0
    check_memory(image.height, image.width, image.bands * (TYPES[image.format]().itemsize + progressive), path)
    if kind == 'jpeg' and image.width * image.height > _JPEG_PIXELS_A_BYTE * (size := file.seek(0, os.SEEK_END)):
        raise VapsrError(f'{path} is cut off: its {size} bytes cannot hold {image.width}x{image.height} pixels')
    orientation = image.get('orientation') if image.get_typeof('orientation') else 1
    return Opened(kind, image, file, orientation if 1 <= orientation <= 8 else 1)


def _check_tiff(file: io.BufferedReader | io.BytesIO, path: str | os.PathLike) -> None:
    try:
        image_tiff.check_layout(file)
    except ValueError as error:
        raise VapsrError(f'{path} {error}') from None


def _opened_by_pillow(file: io.BufferedReader | io.BytesIO, path: str | os.PathLike) -> Opened:
    if deep := DeepNetpbm.of(file):
        check_memory(deep.height, deep.width, 6 * deep.channels, path)  # with the file's bytes, and to scale them
        return Opened('ppm', deep, file, 1)
    file.seek(0)
    try:
        image = Image.open(file, formats=('BMP', 'PPM'))
        width, height = image.size
    except UnidentifiedImageError:
        raise VapsrError(f'{path} cannot be read as an image: its header is damaged') from None
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise VapsrError(f'{path} cannot be read as an image: {error if str(error) else type(error).__name__}') from None
    if image.mode not in PILLOW_MODES:
        raise VapsrError(f'{path} is a {image.format} file of the kind {image.mode}: convert it to PNG')
    if width < 1 or height < 1:
        raise VapsrError(f'{path} cannot be read as an image: its size is {width}x{height}')
    check_memory(height, width, 2 * len(PILLOW_MODES[image.mode]), path)
    return Opened(image.format.lower(), image, file, 1)


def _check_samples(image: pyvips.Image, path: str | os.PathLike) -> None:
    if image.format not in TYPES:
        raise VapsrError(f'{path} has samples of the kind {image.format}: convert it to 8 or 16 bits')
    if image.bands not in _CHANNELS.get(image.interpretation, ()):
        raise VapsrError(f'{path} has {image.bands} channels of the kind {image.interpretation}: convert it to grey or RGB, '
                         f'with alpha or without')
