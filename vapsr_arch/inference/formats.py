"""The formats that images are read and written in, each with its suffix, and which files are compressed with loss."""

import os
import struct
from typing import BinaryIO

FORMATS = {'png': '.png', 'jpeg': '.jpg', 'webp': '.webp', 'tiff': '.tif', 'bmp': '.bmp'}
SUFFIXES = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp', '.tif': 'tiff', '.tiff': 'tiff', '.bmp': 'bmp'}


def is_lossy(path: str | os.PathLike) -> bool:
    """Whether a file is a JPEG or a lossy WebP, by its content, whatever its name; not so if it cannot be read."""
    try:
        with open(path, 'rb') as file:
            start = file.read(12)
            if start[:4] == b'RIFF' and start[8:] == b'WEBP':
                return _is_lossy_webp(file)
            return start[:3] == b'\xff\xd8\xff'
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
