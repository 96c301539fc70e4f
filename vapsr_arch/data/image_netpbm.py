"""PPM and PGM: those of 16 bits, which Pillow would make 8 bits of, are read here, and all are written."""

import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_GAP = rb'(?:\s|#[^\r\n]*[\r\n])+'
_HEADER = re.compile(rb'P([2356])' + _GAP + rb'(\d{1,9})' + _GAP + rb'(\d{1,9})' + _GAP + rb'(\d{1,5})\s')
_LONGEST_HEADER = 2**16  # bytes, with comments


class DeepNetpbm(NamedTuple):
    """What a PPM or PGM of more than 8 bits says of itself.

    Attributes:
        width: In pixels.
        height: In pixels.
        channels: 1 or 3.
        is_text: Whether its samples are numbers in words.
        largest: The sample that is white.
        start: Offset of the first sample.
    """

    width: int
    height: int
    channels: int
    is_text: bool
    largest: int
    start: int

    @classmethod
    def of(cls, file: BinaryIO) -> 'DeepNetpbm | None':
        """Reads a file's header; None if it is no such file."""
        file.seek(0)
        found = _HEADER.match(file.read(_LONGEST_HEADER))
        if not found:
            return None
        kind, width, height, largest = map(int, found.groups())
        if not 255 < largest < 65536 or not width or not height:
            return None
        return cls(width, height, 3 if kind in (3, 6) else 1, kind in (2, 3), largest, found.end())

    def pixels(self, file: BinaryIO) -> np.ndarray:
        """Reads the samples: H x W x 1 or 3, uint16 of the whole range.

        Raises:
            ValueError: They are damaged, or too few.
        """
        count = self.height * self.width * self.channels
        file.seek(self.start)
        if self.is_text:
            words = re.sub(rb'#[^\r\n]*', b'', file.read()).split()[:count]
            if not all(word.isdigit() and len(word) < 6 for word in words):
                raise ValueError('its samples are no numbers')
            samples = np.array([int(word) for word in words], np.uint32)
        else:
            content = file.read(2 * count)
            samples = np.frombuffer(content, '>u2', len(content) // 2).astype(np.uint16)
        if len(samples) < count:
            raise ValueError(f'it ends after {len(samples)} of {count} samples')
        if samples.max() > self.largest:
            raise ValueError(f'it has samples above {self.largest}, which it says is the largest')
        if self.largest < 65535:
            samples = (samples.astype(np.uint32) * 65535 + self.largest // 2) // self.largest
        return samples.astype(np.uint16, copy=False).reshape(self.height, self.width, self.channels)


def write_netpbm(path: Path, pixels: np.ndarray) -> None:
    """Writes PGM, or PPM where there are three channels.

    Args:
        path: Where to.
        pixels: H x W x 1 or 3, uint8 or uint16.
    """
    height, width, channels = pixels.shape
    with path.open('wb') as file:
        file.write(b'P%d\n%d %d\n%d\n' % (5 if channels == 1 else 6, width, height, np.iinfo(pixels.dtype).max))
        file.write(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('>')).data)
