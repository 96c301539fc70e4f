"""The writer of image files: whole, read again before they get their names, or not at all."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from vapsr_arch.data.image_files import ImageData, begin_work
from vapsr_arch.data.image_metadata import check_png, remove_png_resolution, suited_xmp
from vapsr_arch.data.image_netpbm import write_netpbm
from vapsr_arch.data.image_opening import vips_reason
from vapsr_arch.data.image_tiff import rewrite_directory
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole

# Of 48 megapixels, seconds and MB: level 1 took 1.1 for 56, 2 1.7 for 38, 3 2.0 for 35, 6 5.5 for 32, 9 51 for 31. With the
# filter `sub`, upscaled photographs took a third longer and became 4% larger.
PNG_LEVEL = 2
_PNG = dict(compression=PNG_LEVEL, filter='up')
_OPTIONS = {'png': _PNG, 'jpeg': dict(Q=95, subsample_mode='off'), 'webp': dict(Q=95),
            'tiff': dict(compression='deflate', predictor='horizontal', tile=True, tile_width=256, tile_height=256),
            'avif': dict(compression='av1', Q=95, subsample_mode='off', bitdepth=8, effort=2)}
_SAVERS = {'png': 'pngsave', 'jpeg': 'jpegsave', 'webp': 'webpsave', 'tiff': 'tiffsave', 'avif': 'heifsave'}
_PLAIN = ('bmp', 'ppm', 'pgm')  # which hold pixels, and not what they mean
_LARGEST_SIDE = {'jpeg': 65500, 'webp': 16383, 'avif': 16384}
_LARGEST_EXIF = {'jpeg': 65533 - 2}  # of the 16 bits of a segment's length, two bytes are the length's own
_LARGEST_XMP = {'jpeg': 60000}  # libvips leaves out more
_CLASSIC_TIFF = 3 * 2**30  # bytes of pixels; from there on BigTIFF, as Deflate may make more of them
_INTERPRETATIONS = {(1, 'uchar'): 'b-w', (2, 'uchar'): 'b-w', (3, 'uchar'): 'srgb', (4, 'uchar'): 'srgb',
                    (1, 'ushort'): 'grey16', (2, 'ushort'): 'grey16', (3, 'ushort'): 'rgb16', (4, 'ushort'): 'rgb16'}
_BUFFER = 2**20  # bytes of a file that are read at a time
_SYSTEM_ERRORS = {os.strerror(number): number for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)}


def check_fits(kind: str, height: int, width: int, image: ImageData) -> None:
    """Checks that a file of a format can hold an image.

    Args:
        kind: The format, of `FORMATS`.
        height: Its height in pixels.
        width: Its width.
        image: The image, of whatever size.

    Raises:
        VapsrError: It cannot; the sentence has no file's name.
    """
    largest = _LARGEST_SIDE.get(kind)
    has_alpha = image.pixels.shape[2] in (2, 4)
    exif_size, xmp_size = len(image.exif.tobytes()) if image.exif else 0, len(image.xmp or b'')
    lacking = [what for what, lacks in (
        (f'more than {largest} pixels a side ({width}x{height})', largest and max(height, width) > largest),
        ('16 bits a channel', image.pixels.dtype == np.uint16 and kind not in ('png', 'tiff', 'ppm', 'pgm')),
        ('alpha', has_alpha and kind in ('jpeg', *_PLAIN)),
        ('colours', image.pixels.shape[2] > 2 and kind == 'pgm'),
        (f'EXIF of {exif_size} bytes', exif_size > _LARGEST_EXIF.get(kind, exif_size)),
        (f'XMP of {xmp_size} bytes', xmp_size > _LARGEST_XMP.get(kind, xmp_size)),
        ('EXIF', image.exif and kind in _PLAIN), ('XMP', image.xmp and kind in _PLAIN),
        ('an ICC profile', image.icc and kind in _PLAIN)) if lacks]
    if lacking:
        raise VapsrError(f'{kind} files cannot hold {" nor ".join(lacking)}: take --format {"png" if kind != "png" else "tiff"}')


def write_image(path: str | os.PathLike, kind: str, image: ImageData, png_level: int = PNG_LEVEL) -> None:
    """Writes an image, whole or not at all: PNG and TIFF losslessly, JPEG, AVIF (4:4:4) and WebP of quality 95.

    Args:
        path: Where to.
        kind: The format, of `FORMATS`.
        image: The image; the dimensions in its EXIF become its own.
        png_level: How much a PNG is compressed, 0 to 9.

    Raises:
        VapsrError: The format cannot hold it, or its encoder fails; the sentence has no file's name.
        OSError: As the system says.
    """
    height, width = image.pixels.shape[:2]
    check_fits(kind, height, width, image)
    begin_work(path)
    with written_whole(path) as temporary:
        try:
            if kind in _PLAIN:
                _write_plain(temporary, kind, image)
                return
            _save_checked(temporary, kind, image, png_level)
        except pyvips.Error as error:
            for text, number in _SYSTEM_ERRORS.items():
                if text in str(error.detail):
                    raise OSError(number, text, str(path)) from None
            raise VapsrError(f'{width}x{height} pixels cannot be written as {kind}: {vips_reason(error)}') from None
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise VapsrError(f'{width}x{height} pixels cannot be written as {kind}: {reason}') from None


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image, H x W or H x W x 3 in BGR, uint8 or uint16, as PNG without more: whole or not at all."""
    begin_work(path)
    rgb = image[..., None] if image.ndim == 2 else image[..., ::-1]
    content = io.BytesIO(_from_array(rgb).pngsave_buffer(keep='none', **_PNG))
    remove_png_resolution(content)
    with written_whole(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _from_array(pixels: np.ndarray) -> pyvips.Image:
    height, width, channels = pixels.shape
    kind = {np.dtype(np.uint8): 'uchar', np.dtype(np.uint16): 'ushort'}[pixels.dtype]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).data, width, height, channels, kind)
    return image.copy(interpretation=_INTERPRETATIONS[channels, kind])


def _save_checked(path: Path, kind: str, image: ImageData, png_level: int) -> None:
    """Saves an image, and looks at the file."""
    _save(path, kind, image, png_level)
    _check_readable(path, kind, image.pixels.shape)
    if kind == 'png' and not image.resolution:
        with path.open('r+b') as content:
            remove_png_resolution(content)


def _save(path: Path, kind: str, image: ImageData, png_level: int) -> None:
    height, width = image.pixels.shape[:2]
    across, down = image.resolution or (1, 1)
    vips = _from_array(image.pixels).copy(xres=across, yres=down)
    if image.icc:
        vips.set_type(pyvips.GValue.blob_type, 'icc-profile-data', image.icc)
    if image.xmp:
        vips.set_type(pyvips.GValue.blob_type, 'xmp-data', suited_xmp(image.xmp, height, width))
    if image.exif and kind != 'tiff':
        vips.set_type(pyvips.GValue.blob_type, 'exif-data', _exif_bytes(image.exif, height, width))
    if not image.resolution:
        vips.set_type(pyvips.GValue.gstr_type, 'resolution-unit', 'none')
    options: dict[str, Any] = _OPTIONS[kind]
    if kind == 'png':
        options = options | dict(compression=png_level)
    if kind == 'tiff':
        options = options | dict(bigtiff=image.pixels.nbytes > _CLASSIC_TIFF)
    # libvips makes EXIF where there is none, which only some formats need to say their resolution.
    has_exif = image.exif or (image.resolution and kind not in ('png', 'tiff'))
    save = getattr(vips, _SAVERS[kind])
    save(os.fsencode(path), keep='exif|icc|xmp' if has_exif else 'icc|xmp', **options)  # not by a name with options in brackets
    if kind == 'tiff' and (image.exif or not image.resolution):
        if image.exif:
            _set_size(image.exif, height, width)
        rewrite_directory(path, image.exif, image.resolution is not None)


def _set_size(exif: Image.Exif, height: int, width: int) -> None:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, size in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
        if tag in details:
            details[tag] = size


def _exif_bytes(exif: Image.Exif, height: int, width: int) -> bytes:
    _set_size(exif, height, width)
    content = exif.tobytes()
    return content if content.startswith(b'Exif\0\0') else b'Exif\0\0' + content


def _write_plain(path: Path, kind: str, image: ImageData) -> None:
    pixels = image.pixels
    if kind != 'bmp':
        write_netpbm(path, pixels.repeat(3, 2) if kind == 'ppm' and pixels.shape[2] == 1 else pixels)
        return
    buffer = io.BytesIO()
    dots_an_inch = tuple(25.4 * size for size in image.resolution or (0, 0))
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, 'bmp', dpi=dots_an_inch)
    path.write_bytes(buffer.getbuffer())


def _check_readable(path: Path, kind: str, shape: tuple[int, int, int]) -> None:
    """Decodes a file row by row: encoders do not see that a disk is full, or that nothing reads what they made.

    Of a PNG the header and the sums are read, which show in a twentieth of the time that the disk holds what the encoder gave.

    Args:
        path: The file.
        kind: Its format.
        shape: Height, width and channels that it should have.

    Raises:
        VapsrError: It cannot be read, or its size or kind is another.
    """
    try:
        with path.open('rb', buffering=0) as file:
            source = pyvips.Source.new_from_descriptor(file.fileno())
            image = pyvips.Image.new_from_source(source, '', access='sequential', fail_on='warning')
            if kind != 'png':
                image.avg()
        if kind == 'png':
            with path.open('rb', buffering=_BUFFER) as file:
                check_png(file)
    except (pyvips.Error, ValueError) as error:
        reason = vips_reason(error) if isinstance(error, pyvips.Error) else error
        raise VapsrError(f'what was written cannot be read again ({reason}): is the disk full?') from None
    bands = shape[2] + 2 * (kind in ('webp', 'avif') and shape[2] < 3)  # which have no grey
    if (image.height, image.width, image.bands) != (*shape[:2], bands):
        raise VapsrError(f'what was written reads as {image.width}x{image.height} pixels of {image.bands} channels')
