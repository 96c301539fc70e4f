"""The formats that images are read and written in, each with its suffixes, and which files are compressed lossily."""

import os
import struct
from typing import BinaryIO

FORMATS = {'png': '.png', 'jpeg': '.jpg', 'webp': '.webp', 'tiff': '.tif', 'avif': '.avif', 'bmp': '.bmp', 'ppm': '.ppm',
           'pgm': '.pgm'}
OUTPUT_SUFFIXES = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.jpe': 'jpeg', '.jfif': 'jpeg', '.webp': 'webp',
                   '.tif': 'tiff', '.tiff': 'tiff', '.avif': 'avif', '.bmp': 'bmp', '.ppm': 'ppm', '.pgm': 'pgm'}
STREAMED = frozenset(('png', 'tiff', 'jpeg'))  # whose encoders take an image row by row
SUFFIXES = frozenset(OUTPUT_SUFFIXES)


def foreign_format(start: bytes) -> str | None:
    """The name of an image format that is known but not read, by a file's first 12 bytes."""
    if start[4:8] == b'ftyp' and start[8:12] in (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'):
        return 'HEIC'
    known = {b'GIF8': 'GIF', b'\xff\x0a': 'JPEG XL', b'\0\0\0\x0cJXL ': 'JPEG XL', b'\0\0\0\x0cjP': 'JPEG 2000',
             b'\xff\x4f\xff\x51': 'JPEG 2000', b'8BPS': 'Photoshop', b'%PDF': 'PDF', b'<svg': 'SVG',
             b'\x76\x2f\x31\x01': 'OpenEXR'}
    return next((name for mark, name in known.items() if start.startswith(mark)), None)


def is_lossy(path: str | os.PathLike) -> bool:
    """Whether a file is a JPEG, an AVIF or a lossy WebP, by its content, whatever its name; not so if it cannot be read."""
    try:
        with open(path, 'rb') as file:
            start = file.read(12)
            if start[:4] == b'RIFF' and start[8:] == b'WEBP':
                return _is_lossy_webp(file)
            return start[:3] == b'\xff\xd8\xff' or start[4:] == b'ftypavif'
    except OSError:
        return False


def _is_lossy_webp(file: BinaryIO) -> bool:
    """Whether the first image in a WebP is VP8 rather than VP8L: of the file's chunks, which follow its first 12 bytes.

    The extended format (VP8X) has chunks of other kinds before the image's.
    """
    while len(header := file.read(8)) == 8:
        kind, size = struct.unpack('<4sI', header)
        if kind in (b'VP8 ', b'VP8L'):
            return kind == b'VP8 '
        file.seek(size + size % 2, os.SEEK_CUR)
    return False
