"""Image files: what counts as one, what its header says, its pixels."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole

SUFFIXES = frozenset(('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm'))
_NO_TEXT = re.compile('[\ud800-\udfff]')  # what stands for bytes that are not UTF-8
_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width; OpenCV applies them when it reads


class Header(NamedTuple):
    height: int
    width: int
    is_16bit: bool
    has_alpha: bool


def split_images(folder: str | os.PathLike) -> tuple[list[Path], list[Path]]:
    """The files of a folder by name, hidden ones aside: images, and all others.

    Raises:
        VapsrError: The folder is missing, has no image, or one whose name is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VapsrError(f'{folder}: there is no such folder of images')
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    foreign = [path.name for path in images if _NO_TEXT.search(path.name)]
    if foreign:
        raise VapsrError(f'{folder}: the name {foreign[0]!a} is not UTF-8: rename it')
    if not images:
        raise VapsrError(f'{folder}: the folder has no image ({", ".join(sorted(SUFFIXES))})')
    return images, [path for path in files if path.suffix.lower() not in SUFFIXES]


def read_header(path: str | os.PathLike) -> Header:
    """Reads an image's size and kind without its pixels.

    Raises:
        VapsrError: The file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Of a PNG without EXIF at its beginning, Pillow would decode the pixels to look for some at its end.
            has_exif = image.format != 'PNG' or 'exif' in image.info
            if has_exif and image.getexif().get(_EXIF_ORIENTATION) in _TURNED:
                width, height = height, width
            return Header(height, width, '16' in raw_mode(image), 'A' in image.mode or 'transparency' in image.info)
    except FileNotFoundError:
        raise VapsrError(f'{path}: there is no such image') from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise VapsrError(f'{path} cannot be read as an image: {_reason(error)}') from None


def raw_mode(image: Image.Image) -> str:
    """How the file of an image that is not loaded yet holds its samples, such as `RGB;16B`."""
    arguments = image.tile[0].args if image.tile else image.mode
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _reason(error: Exception) -> str:
    return 'its format is not known' if isinstance(error, UnidentifiedImageError) else str(error)


def decode(content: bytes | None, name: str | os.PathLike, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes an image file's bytes.

    Args:
        content: The file's bytes; None stands for a record that is not there.
        name: What an error calls the image.
        flags: OpenCV's, for reading otherwise than below.

    Returns:
        H x W x 3, uint8, BGR: grey repeated, 16 bit reduced to 8, alpha left out.

    Raises:
        VapsrError: The bytes are no image, or end too early.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise VapsrError(f'{name} cannot be decoded: the file is damaged, cut off or not an image')
    return image


def read_bytes(path: str | os.PathLike) -> bytes:
    """A file's bytes.

    Raises:
        VapsrError: The file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise VapsrError(f'{path} cannot be read: {error.strerror}') from None


def read_as_it_is(path: str | os.PathLike) -> np.ndarray:
    """Reads an image without changing its samples: H x W for grey, else H x W x 3, BGR; uint8 or uint16; alpha left out.

    Raises:
        VapsrError: The file cannot be read, or its samples are of another type.
    """
    image = decode(read_bytes(path), path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if image.dtype not in (np.uint8, np.uint16):
        raise VapsrError(f'{path} has samples of type {image.dtype}: images of 8 or 16 bits a channel are needed')
    return image


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image, H x W or H x W x 3 in BGR, uint8 or uint16, as PNG: whole or not at all."""
    content = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def conversion_notes(headers: Iterable[Header]) -> list[str]:
    """What reading these images as 8-bit RGB leaves out, for a log."""
    headers = list(headers)
    deep, alpha = sum(header.is_16bit for header in headers), sum(header.has_alpha for header in headers)
    notes = []
    if deep:
        notes.append(f'{deep} of {len(headers)} images have 16 bits a channel and are read as 8 bits')
    if alpha:
        notes.append(f'{alpha} of {len(headers)} images have an alpha channel, which is left out')
    return notes
