"""Files of torch.save: an outline of what they hold, and its tensors, each looked at before memory is taken for it."""

import itertools
import math
import mmap
import os
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from vapsr_arch.weights.pickles import Made, Named, PickleFault, Stored, read_pickle

_LEGACY = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'  # the pickled magic number of files before torch 1.6
_MAX_RECORDS = 100_000
_MAX_PICKLE = 2**28  # bytes
_MAX_DIMENSIONS = 16
_MAX_DEPTH = 100  # of dictionaries and lists within one another
_SPARE = 2**28  # bytes that the tensors may take beyond the file's size: a tensor may repeat what is stored once
_FAULTS = (zipfile.BadZipFile, ArithmeticError, EOFError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError,
           struct.error)

_STORAGES = {'DoubleStorage': torch.float64, 'FloatStorage': torch.float32, 'HalfStorage': torch.float16,
             'BFloat16Storage': torch.bfloat16, 'LongStorage': torch.int64, 'IntStorage': torch.int32,
             'ShortStorage': torch.int16, 'CharStorage': torch.int8, 'ByteStorage': torch.uint8, 'BoolStorage': torch.bool,
             'ComplexFloatStorage': torch.complex64, 'ComplexDoubleStorage': torch.complex128, 'UntypedStorage': torch.uint8}
# How a kind of tensor that is not supported is rebuilt, and what it is called.
_STRANGE = {'_rebuild_sparse_tensor': 'sparse', '_rebuild_sparse_csr_tensor': 'sparse', '_rebuild_qtensor': 'quantized',
            '_rebuild_nested_tensor': 'nested', '_rebuild_njt': 'nested', '_rebuild_meta_tensor_no_storage': 'meta',
            '_rebuild_wrapper_subclass': 'wrapped', '_rebuild_device_tensor_from_numpy': 'foreign',
            '_rebuild_device_tensor_from_cpu_tensor': 'foreign'}


class TorchFileFault(Exception):
    """A file that torch.save did not write, is damaged, or asks for what no checkpoint has."""


class CodeFault(TorchFileFault):
    """A file whose pickle calls what could run code or take memory."""


class StrangeTensor(NamedTuple):
    """A tensor that is not supported.

    Attributes:
        kind: What it is, such as `sparse`.
    """

    kind: str


@dataclass(eq=False)
class StoredTensor:
    """A tensor as the file describes it; unchecked until `TorchFile.tensor` reads it.

    Attributes:
        storage: What the file says about its storage.
        dtype: The type of its elements; None for that of the storage.
        offset: The first element's place in the storage, in elements.
        shape: Its shape.
        stride: Steps in the storage, in elements.
    """

    storage: Any
    dtype: torch.dtype | None
    offset: Any
    shape: Any
    stride: Any

    @property
    def is_weight(self) -> bool:
        """Whether it has a dimension, as weights do and counters do not."""
        return isinstance(self.shape, tuple) and len(self.shape) > 0


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    elements: int


def _storage(stored: Any) -> _Storage:
    reference = stored.reference if isinstance(stored, Stored) else None
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or _text(reference[0]) != 'storage':
        raise TorchFileFault('a tensor has no storage')
    kind, key, elements = reference[1], _text(reference[2]), reference[4]
    dtype = _STORAGES.get(kind.name.rpartition(' ')[2]) if isinstance(kind, Named) else None
    if dtype is None or key is None or not _is_size(elements):
        raise TorchFileFault('a tensor has a storage of a kind that is not known')
    if len(reference) == 6 and reference[5] is not None:
        raise TorchFileFault('it was written by a torch before 0.4: load and save it with a newer one')
    return _Storage(dtype, key, elements)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode('ascii', 'replace')
    return str(value) if isinstance(value, str) or _is_size(value) else None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


# Modules of Python that objects beside the weights come from without harm; what else of Python's library a pickle asks for is a
# way to run code. None of them is imported or called here in any case.
_HARMLESS = {'_codecs', 'argparse', 'collections', 'copy_reg', 'copyreg', 'dataclasses', 'datetime', 'decimal', 'enum',
             'fractions', 'numbers', 'pathlib', 'random', 're', 'types', 'typing', 'uuid'}
_HARMLESS_BUILTINS = {'set', 'frozenset', 'complex', 'slice', 'range', 'object', 'int', 'float', 'bool', 'str', 'list', 'tuple',
                      'bytes', 'bytearray', 'type', 'dict'}


def _check_harmless(name: str, arguments: tuple) -> None:
    module, _, function = name.partition(' ')
    root = module.partition('.')[0]
    builtin = root in ('builtins', '__builtin__')
    if (builtin and function not in _HARMLESS_BUILTINS) or \
            (not builtin and root in sys.stdlib_module_names | {'nt', 'posix', 'commands'} and root not in _HARMLESS):
        raise CodeFault(f'{module}.{function}')
    if builtin and function in ('bytearray', 'bytes') and any(type(argument) is int for argument in arguments):
        raise CodeFault(f'{function} of a given length')


def _made(name: str, arguments: tuple) -> Any:
    """What stands for an object that a pickle calls something for: tensors as `StoredTensor`, others as `Made`."""
    module, _, function = name.partition(' ')
    if module == 'torch._utils':
        if function in ('_rebuild_tensor', '_rebuild_tensor_v2') and len(arguments) >= 4:
            return StoredTensor(arguments[0], None, *arguments[1:4])
        if function == '_rebuild_tensor_v3' and len(arguments) >= 7:
            dtype = arguments[6].name.rpartition(' ')[2] if isinstance(arguments[6], Named) else ''
            dtype = getattr(torch, dtype, None)
            return StoredTensor(arguments[0], dtype, *arguments[1:4]) if isinstance(dtype, torch.dtype) \
                else StrangeTensor('foreign')
        if function in ('_rebuild_parameter', '_rebuild_parameter_with_state') and arguments:
            return arguments[0]
    if module.partition('.')[0] == 'torch':
        if function in _STRANGE:
            return StrangeTensor(_STRANGE[function])
        if function == 'Size' and len(arguments) == 1 and isinstance(arguments[0], tuple):
            return arguments[0]
        if function == '_rebuild_from_type_v2' and len(arguments) >= 3 and isinstance(arguments[0], Named) \
                and isinstance(arguments[2], tuple) and arguments[0].name != name:
            return _made(arguments[0].name, arguments[2])
    _check_harmless(name, arguments)
    return Made(name, arguments)


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
            self._read_storage: Callable[[_Storage], bytearray] = (self._open_zip if is_zip else self._open_legacy)()
        except PickleFault as fault:
            raise TorchFileFault(str(fault)) from None
        except _FAULTS as error:
            raise TorchFileFault(str(error).partition('\n')[0] or 'it is cut off') from error

    def _open_zip(self) -> Callable[[_Storage], bytearray]:
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
            self.content = read_pickle(pickle, _made)

        def read(storage: _Storage) -> bytearray:
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

    def _open_legacy(self) -> Callable[[_Storage], bytearray]:
        file = self._file
        start = file.read(len(_LEGACY))
        if start != _LEGACY:
            if start.startswith(b'\x80'):
                raise CodeFault('a pickle of its own')
            raise TorchFileFault('torch.save did not write it')
        for _ in ('version', 'system'):
            read_pickle(file, _made)
        sizes: dict[str, _Storage] = {}
        self.content = read_pickle(file, _made)
        keys = read_pickle(file, _made)
        if not isinstance(keys, list) or not all(isinstance(key, str | bytes) for key in keys):
            raise TorchFileFault('the list of its storages is damaged')
        for storage in map(_storage, _storages_in(self.content)):
            sizes[storage.key] = storage
        places = {}
        for key in map(_text, keys):
            elements, = struct.unpack('<q', file.read(8))
            storage = sizes.get(key)
            if storage is None or storage.elements != elements:
                raise TorchFileFault('the list of its storages is damaged')
            places[key] = file.tell()
            if file.seek(elements * storage.dtype.itemsize, os.SEEK_CUR) > self._size:
                raise TorchFileFault('it is cut off')

        def read(storage: _Storage) -> bytearray:
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
        storage = _storage(stored.storage)
        dtype = stored.dtype or storage.dtype
        shape, stride, offset = stored.shape, stored.stride, stored.offset
        if not isinstance(shape, tuple) or not isinstance(stride, tuple) or len(shape) != len(stride) \
                or len(shape) > _MAX_DIMENSIONS or not all(map(_is_size, (*shape, *stride, offset))):
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
