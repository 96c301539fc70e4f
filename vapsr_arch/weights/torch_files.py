"""Files of torch.save: an outline of what they hold, and its tensors, each looked at before memory is taken for it."""

import itertools
import math
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vapsr_arch.weights.pickles import Made, PickleFault, Stored, read_pickle
from vapsr_arch.weights.stored_tensors import (
    CodeFault,
    Storage,
    StoredTensor,
    StrangeTensor,
    TorchFileFault,
    is_size,
    made,
    storage_of,
    text_of,
)

_LEGACY = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'  # the pickled magic number of files before torch 1.6
_MAX_RECORDS = 100_000
_MAX_PICKLE = 2**28  # bytes
_MAX_DIMENSIONS = 16
_MAX_DEPTH = 100  # of dictionaries and lists within one another
_SPARE = 2**28  # bytes that the tensors may take beyond the file's size: a tensor may repeat what is stored once
_FAULTS = (zipfile.BadZipFile, ArithmeticError, EOFError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError,
           struct.error)


def is_torch_file(start: bytes) -> bool:
    """Whether a file with this start may be one of torch.save."""
    return start.startswith((b'PK\x03\x04', _LEGACY))


class TorchFile:
    """A file of torch.save, open; a context.

    Args:
        file: The file, open for reading, of a kind that can be mapped or of bytes in memory.

    Attributes:
        content: What it holds: dictionaries, lists, tuples, numbers and texts; `StoredTensor`s and `StrangeTensor`s in place of
            tensors, `Made` in place of other objects.

    Raises:
        TorchFileFault: It is no such file, or is damaged: a record of the newer format does not have its sum.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._taken = 0
        self._storages: dict[str, Tensor] = {}
        file.seek(0)
        is_zip = file.read(4) == b'PK\x03\x04'
        file.seek(0)
        try:
            self._read_storage: Callable[[Storage], bytearray] = (self._open_zip if is_zip else self._open_legacy)()
        except PickleFault as fault:
            raise TorchFileFault(str(fault)) from None
        except _FAULTS as error:
            raise TorchFileFault(str(error).partition('\n')[0] or 'it is cut off') from error

    def _open_zip(self) -> Callable[[Storage], bytearray]:
        self._count_records()
        archive = zipfile.ZipFile(self._file)
        records = archive.infolist()
        by_name = {record.filename.partition('/')[2]: record for record in records}
        if 'constants.pkl' in by_name:
            raise TorchFileFault('it is a program of TorchScript: save the state_dict() of its network')
        if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
            raise TorchFileFault('it is compressed or encrypted, which no file of torch.save is')
        if sum(record.file_size for record in records) > self._size:
            raise TorchFileFault('its records overlap')
        broken = archive.testzip()
        if broken is not None:
            raise TorchFileFault(f'the sum of {broken!r} is not what it was written with')
        if 'data.pkl' not in by_name:
            raise TorchFileFault('it is a zip file that torch.save did not write')
        if 'byteorder' in by_name and archive.read(by_name['byteorder']) != b'little':
            raise TorchFileFault('it was written on a machine of another byte order')
        if by_name['data.pkl'].file_size > _MAX_PICKLE:
            raise TorchFileFault('its pickle is larger than that of any checkpoint')
        with archive.open(by_name['data.pkl']) as pickle:
            self.content = read_pickle(pickle, made)

        def read(storage: Storage) -> bytearray:
            record = by_name[f'data/{storage.key}']
            if record.file_size != storage.elements * storage.dtype.itemsize:
                raise TorchFileFault(f'the record of storage {storage.key[:99]} has another size than its tensors ask for')
            data = bytearray(record.file_size)
            with archive.open(record) as stored:
                stored.readinto(data)
            return data
        return read

    def _count_records(self) -> None:
        """Looks how many records there are, each of which takes memory, before the archive's table is read."""
        try:
            with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                entries = re.finditer(b'PK\x01\x02', content)
                count = sum(1 for _ in itertools.islice(entries, _MAX_RECORDS + 1))
                del entries
        except OSError:  # bytes in memory, which this process has made
            return
        if count > _MAX_RECORDS:
            raise TorchFileFault(f'it has more than {_MAX_RECORDS:,} records')

    def _open_legacy(self) -> Callable[[Storage], bytearray]:
        file = self._file
        start = file.read(len(_LEGACY))
        if start != _LEGACY:
            if start.startswith(b'\x80'):
                raise CodeFault('a pickle of its own')
            raise TorchFileFault('torch.save did not write it')
        for _ in ('version', 'system'):
            read_pickle(file, made)
        sizes: dict[str, Storage] = {}
        self.content = read_pickle(file, made)
        keys = read_pickle(file, made)
        if not isinstance(keys, list) or not all(isinstance(key, str | bytes) for key in keys):
            raise TorchFileFault('the list of its storages is damaged')
        for storage in map(storage_of, _storages_in(self.content)):
            sizes[storage.key] = storage
        places = {}
        for key in map(text_of, keys):
            elements, = struct.unpack('<q', file.read(8))
            storage = sizes.get(key)
            if storage is None or storage.elements != elements:
                raise TorchFileFault('the list of its storages is damaged')
            places[key] = file.tell()
            if file.seek(elements * storage.dtype.itemsize, os.SEEK_CUR) > self._size:
                raise TorchFileFault('it is cut off')

        def read(storage: Storage) -> bytearray:
            if storage != sizes[storage.key]:
                raise TorchFileFault('two tensors disagree about their storage')
            file.seek(places[storage.key])
            data = bytearray(storage.elements * storage.dtype.itemsize)
            file.readinto(data)
            return data
        return read

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Reads a tensor.

        Raises:
            TorchFileFault: The file describes one that its data do not fill, or that is far larger than the file.
        """
        storage = storage_of(stored.storage)
        dtype = stored.dtype or storage.dtype
        shape, stride, offset = stored.shape, stored.stride, stored.offset
        if not isinstance(shape, tuple) or not isinstance(stride, tuple) or len(shape) != len(stride) \
                or len(shape) > _MAX_DIMENSIONS or not all(map(is_size, (*shape, *stride, offset))):
            raise TorchFileFault('a tensor has no proper shape')
        numel = math.prod(shape)
        self._taken += numel * dtype.itemsize
        if self._taken > self._size + _SPARE:
            raise TorchFileFault(f'its tensors are far larger than the file: one is {"x".join(map(str, shape))}')
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride))
        if numel and (last + 1) * dtype.itemsize > storage.elements * storage.dtype.itemsize:
            raise TorchFileFault(f'a tensor of {"x".join(map(str, shape))} reaches beyond its data')
        if not numel:
            return torch.empty(shape, dtype=dtype)
        try:
            if storage.key not in self._storages:
                self._storages[storage.key] = torch.frombuffer(self._read_storage(storage), dtype=torch.uint8)
            return self._storages[storage.key].view(dtype).as_strided(shape, stride, offset)
        except _FAULTS as error:
            raise TorchFileFault(str(error).partition('\n')[0]) from error

    def everything(self) -> Any:
        """The content with its tensors.

        Raises:
            TorchFileFault: As for `tensor`; or the content is nested too deeply.
        """
        return self._filled(self.content, {}, 0)

    def _filled(self, value: Any, done: dict[int, Any], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise TorchFileFault('its content is nested too deeply')
        if isinstance(value, StoredTensor | Mapping | list | tuple) and not isinstance(value, StrangeTensor):
            if id(value) not in done:
                done[id(value)] = self._made_of(value, done, depth + 1)
            return done[id(value)]
        return value

    def _made_of(self, value: StoredTensor | Mapping | Sequence, done: dict[int, Any], depth: int) -> Any:
        if isinstance(value, StoredTensor):
            return self.tensor(value)
        if isinstance(value, Mapping):
            return type(value)({key: self._filled(item, done, depth) for key, item in value.items()})
        return type(value)(self._filled(item, done, depth) for item in value)


def _storages_in(content: Any) -> list[Stored]:
    """All references to storages in a content."""
    found, seen, waiting = [], set(), [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, StoredTensor):
            waiting.append(value.storage)
        elif isinstance(value, Stored):
            found.append(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, Made):
            waiting.extend((value.arguments, value.state))
    return found
