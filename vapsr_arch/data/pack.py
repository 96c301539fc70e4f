"""Packs: decoded uint8 pixels in one file, memory-mapped, so that a training crop costs no PNG decoding.

A pack is a header of one page, the images' pixels (H x W x 3, BGR, each beginning at a multiple of 64 bytes), the images'
names in UTF-8, the recipe (JSON: what made it) and the index, one record an image in the order of the names. The header
holds the format's version and where the rest is. All numbers are little-endian. Opening a pack reads header and index alone.

The sizes of images and names determine where everything lies, without a gap but for alignment: an index that says otherwise is
damaged.
"""

import itertools
import json
import mmap
import os
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vapsr_arch.data.recipes import parsed_recipe
from vapsr_arch.errors import VapsrError

VERSION = 1
_MAGIC = b'VAPSRPAK'
_HEADER = struct.Struct('<8sIIQQQQQ')
_PIXELS_START = 4096
_ALIGNMENT = 64
_RECORD = np.dtype([('offset', '<u8'), ('name_offset', '<u8'), ('height', '<u4'), ('width', '<u4'), ('name_size', '<u4'),
                    ('reserved', '<u4')])


def _aligned(offset: int | np.ndarray) -> int | np.ndarray:
    """The next multiple of the alignment."""
    return (offset + (_ALIGNMENT - 1)) // _ALIGNMENT * _ALIGNMENT


class _Header(NamedTuple):
    magic: bytes
    version: int
    channels: int
    count: int
    recipe_offset: int
    recipe_size: int
    index_offset: int
    size: int  # of the whole file


class Pack:
    """The images of a pack, by position.

    Args:
        path: The file.

    Raises:
        VapsrError: It cannot be read, is no pack, is of another version, is cut off, or its header or index is damaged.
            Names and recipe are looked at when they are asked for, and raise the same.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = str(path)
        try:
            with open(path, 'rb') as file:
                start = file.read(_HEADER.size)
                size = os.fstat(file.fileno()).st_size
                if len(start) < _HEADER.size or start[:8] != _MAGIC:
                    raise VapsrError(f'{path} is not a pack: `vapsr data pack` makes one from a folder of images')
                self._header = _Header(*_HEADER.unpack(start))
                if self._header.version != VERSION:
                    raise VapsrError(f'{path} is a pack of version {self._header.version}, and this program reads version '
                                     f'{VERSION}: make it again with `vapsr data pack`')
                if self._header.size != size:
                    raise VapsrError(f'{path} has {size} bytes of {self._header.size}: it is cut off; make or copy it again')
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise VapsrError(f'{path}: the pack cannot be read: {error.strerror}') from None
        index_offset, count = self._header.index_offset, self._header.count
        if self._header.channels != 3 or index_offset + count * _RECORD.itemsize != size:
            raise self._damaged('header')
        self.index = np.frombuffer(self._map, _RECORD, count, index_offset)
        if not self._is_laid_out():
            raise self._damaged('index')

    def _damaged(self, part: str) -> VapsrError:
        return VapsrError(f'{self.path}: the {part} of the pack is damaged: make or copy it again')

    def _is_laid_out(self) -> bool:
        """Whether everything lies where the sizes of images and names put it."""
        header, (heights, widths) = self._header, (self.index[name].astype(np.uint64) for name in ('height', 'width'))
        offsets, name_offsets, name_sizes = (self.index[name] for name in ('offset', 'name_offset', 'name_size'))
        limit = header.index_offset
        # With all of them below the file's size, no sum below exceeds 64 bits.
        if ((offsets > limit) | (name_offsets > limit) | (name_sizes > limit) | (heights * widths > limit // 3)).any():
            return False
        ends, name_ends = offsets + 3 * heights * widths, name_offsets + name_sizes
        names_start = int(ends[-1]) if len(ends) else _PIXELS_START
        recipe_end = header.recipe_offset + header.recipe_size
        return (np.array_equal(offsets, np.append(np.uint64(_PIXELS_START), _aligned(ends))[:-1])
                and np.array_equal(name_offsets, np.append(np.uint64(names_start), name_ends)[:-1])
                and header.recipe_offset == (int(name_ends[-1]) if len(name_ends) else names_start)
                and header.index_offset == _aligned(recipe_end))

    def __reduce__(self) -> tuple:
        return Pack, (self.path,)  # a worker process maps the file itself

    def __len__(self) -> int:
        return self._header.count

    def __getitem__(self, position: int) -> np.ndarray:
        """H x W x 3, uint8, BGR: a read-only view of the file."""
        record = self.index[position]
        height, width, offset = int(record['height']), int(record['width']), int(record['offset'])
        return np.frombuffer(self._map, np.uint8, height * width * 3, offset).reshape(height, width, 3)

    @property
    def recipe(self) -> dict[str, Any]:
        """What made the pack, with its settings."""
        start = self._header.recipe_offset
        recipe = parsed_recipe(self._map[start:start + self._header.recipe_size])
        if recipe is None:
            raise self._damaged('recipe')
        return recipe

    def name(self, position: int) -> str:
        """An image's name without suffix."""
        record = self.index[position]
        start = int(record['name_offset'])
        try:
            name = self._map[start:start + int(record['name_size'])].decode()
        except UnicodeDecodeError:
            name = '\0'
        if '\0' in name:  # no file could have it
            raise self._damaged(f'name of image {position}')
        return name

    def names(self) -> list[str]:
        """All names, which ascend."""
        names = [self.name(position) for position in range(len(self))]
        if any(name <= before for before, name in itertools.pairwise(names)):
            raise self._damaged('order of names')
        return names

    def shape(self, position: int) -> tuple[int, int]:
        """Height and width."""
        return int(self.index[position]['height']), int(self.index[position]['width'])

    def find(self, name: str) -> int | None:
        """The position of the image of a name; names are in order, so that few of them are read."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.name(middle) < name:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.name(low) == name else None


class PackWriter:
    """Writes a pack to a file opened for writing, image after image.

    Args:
        file: Empty, and open for writing in binary.
        recipe: What makes the pack, for `Pack.recipe`.
    """

    def __init__(self, file: BinaryIO, recipe: dict[str, Any]) -> None:
        self.file = file
        self.recipe = recipe
        self.names: list[str] = []
        self.records: list[tuple] = []
        file.seek(_PIXELS_START)

    def add(self, name: str, image: np.ndarray) -> None:
        """Appends an image, H x W x 3, uint8, BGR. Names come in ascending order.

        Raises:
            ValueError: The name is not above the last one, or the image is of another kind.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'{name}: a pack holds H x W x 3 uint8, not {image.dtype} of shape {image.shape}')
        self.reserve(name, *image.shape[:2])
        self.file.write(np.ascontiguousarray(image).data)

    def reserve(self, name: str, height: int, width: int) -> None:
        """Makes the record of the image that follows; without one, its pixels are 0, and the file has a hole."""
        if self.names and name <= self.names[-1]:
            raise ValueError(f'{name} comes after {self.names[-1]}: names are added in ascending order')
        offset = self.records[-1][0] + 3 * self.records[-1][1] * self.records[-1][2] if self.records else _PIXELS_START
        offset = _aligned(offset)
        self.file.seek(offset)
        self.names.append(name)
        self.records.append((offset, height, width))

    def close(self) -> None:
        """Writes the index, and last the header, which makes the file a pack."""
        file = self.file
        offset, height, width = self.records[-1] if self.records else (_PIXELS_START, 0, 0)
        file.seek(offset + 3 * height * width)
        names = [name.encode() for name in self.names]
        sizes = np.array([len(name) for name in names], np.int64)
        index = np.zeros(len(names), _RECORD)
        index['name_offset'] = file.tell() + np.cumsum(sizes) - sizes
        index['name_size'] = sizes
        for field, column in zip(('offset', 'height', 'width'), zip(*self.records)):
            index[field] = column
        recipe = json.dumps(self.recipe).encode()
        recipe_offset = file.tell() + int(sizes.sum())
        index_offset = _aligned(recipe_offset + len(recipe))
        file.write(b''.join(names) + recipe)
        file.seek(index_offset)
        file.write(index.tobytes())
        file.truncate()
        header = _Header(_MAGIC, VERSION, 3, len(names), recipe_offset, len(recipe), index_offset, file.tell())
        file.seek(0)
        file.write(_HEADER.pack(*header))
        file.flush()
        os.fsync(file.fileno())
