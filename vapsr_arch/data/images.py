"""Images as training and the data tools take them: pixels as OpenCV has them, BGR."""

import ctypes
import functools
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from vapsr_arch.data.image_files import Header, is_usable, read_image
from vapsr_arch.data.image_process import ImageProcess
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import check_memory, glibc

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is reported once, by us
_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # a sample, by the kind of colours


def decode(content: bytes | None, name: str | os.PathLike, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes an image file's bytes.

    OpenCV decodes PNG, which it does at once and in every process; `read_image`, or another process by it, all else.

    Args:
        content: The file's bytes; None stands for a record that is not there.
        name: What an error calls the image.
        flags: OpenCV's: IMREAD_COLOR, or IMREAD_ANYCOLOR and IMREAD_ANYDEPTH for reading otherwise than below.

    Returns:
        H x W x 3, uint8, BGR: grey repeated, 16 bit reduced to 8, alpha left out.

    Raises:
        VapsrError: The bytes are no image, or end too early.
    """
    if not content:
        raise _damaged(name)
    prepared = _for_opencv(content, name)
    if prepared is None:
        pixels = read_image(name, content).pixels if is_usable() else ImageProcess.of_this_process().read(name, content)
        return _as_flags_say(pixels, flags)
    try:
        with _without_c_messages():
            image = cv2.imdecode(np.frombuffer(prepared, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise _damaged(name)
    return image


_silence = threading.Lock()
_silent = 0  # how many threads are within `_without_c_messages`


@functools.cache
def _c_streams() -> tuple[ctypes.c_void_p, int | None, int | None]:
    """glibc's variable `stderr`, its value, and that of a stream into nothing."""
    library = glibc()
    library.fopen.restype = ctypes.c_void_p
    variable = ctypes.c_void_p.in_dll(library, 'stderr')
    return variable, variable.value, library.fopen(os.fsencode(os.devnull), b'w')


@contextmanager
def _without_c_messages() -> Iterator[None]:
    """Nothing that C libraries print to `stderr` is seen: OpenCV leaves libpng's handler, which prints what is damaged.

    Python's own stderr, which is the file descriptor, is as before. Where the C library is not glibc, nothing is done.
    """
    global _silent
    if not glibc():
        yield
        return
    stderr, loud, nothing = _c_streams()
    with _silence:
        _silent += 1
        stderr.value = nothing
    try:
        yield
    finally:
        with _silence:
            _silent -= 1
            if not _silent:
                stderr.value = loud


def _damaged(name: str | os.PathLike) -> VapsrError:
    return VapsrError(f'{name} cannot be decoded: the file is damaged, cut off or not an image')


def _for_opencv(content: bytes, name: str | os.PathLike) -> bytes | None:
    """The bytes of a PNG for OpenCV to decode as they are meant; None for others, and where the reader names what is wrong.

    Raises:
        VapsrError: The image is larger than the memory, or damaged: libpng would say so on stderr.
    """
    if not content.startswith(_PNG_START) or len(content) < 33:
        return None
    width, height, bits, colours = struct.unpack('>IIBB', content[16:26])
    if not 0 < width < 2**31 or not 0 < height < 2**31 or bits not in _PNG_BITS.get(colours, ()) or b'acTL' in content[33:4096]:
        return None
    check_memory(height, width, 8 if bits == 16 else 4, name)
    needed = _needed_chunks(content)
    if needed is None:
        raise _damaged(name)
    return needed


def _needed_chunks(content: bytes) -> bytes | None:
    """A PNG with the chunks alone that matter for its pixels and how they lie; None if one of them is damaged.

    libpng prints warnings of the others, and OpenCV takes memory for as much as a chunk is said to have.
    """
    view, needed, place, kind = memoryview(content), [content[:8]], 8, b''
    while kind != b'IEND':
        if place + 12 > len(content):
            return None
        size, kind = struct.unpack_from('>I4s', content, place)
        end = place + 12 + size
        if end > len(content):
            return None
        is_critical = kind[:1].isupper()
        if is_critical and zlib.crc32(view[place + 4:end - 4]) != int.from_bytes(view[end - 4:end], 'big'):
            return None
        if is_critical or kind == b'eXIf':
            needed.append(view[place:end])
        place = end
    return b''.join(needed)


def _as_flags_say(pixels: np.ndarray, flags: int) -> np.ndarray:
    """Pixels of the reader as OpenCV would give them."""
    if pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.dtype == np.uint16 and not flags & cv2.IMREAD_ANYDEPTH:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[..., 0] if flags & cv2.IMREAD_ANYCOLOR == cv2.IMREAD_ANYCOLOR
                                    else pixels.repeat(3, 2))
    return np.ascontiguousarray(pixels[..., ::-1])


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
    return decode(read_bytes(path), path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)


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
