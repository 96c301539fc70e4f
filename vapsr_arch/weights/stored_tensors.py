"""What stands for the tensors in a pickle of torch.save, and for the other objects there: nothing is imported or called."""

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from vapsr_arch.weights.pickles import Made, Named, Stored

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
    """A file that is not of torch.save, is damaged, or asks for what no checkpoint has."""


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
    """A tensor as the file describes it; nothing is right about it until `TorchFile.tensor` has looked.

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


class Storage(NamedTuple):
    """Where the elements of tensors lie: their type, the key of their record, and how many there are."""

    dtype: torch.dtype
    key: str
    elements: int


def storage_of(stored: Any) -> Storage:
    """What a reference to a storage says.

    Raises:
        TorchFileFault: It is none, or of a kind that is not known.
    """
    reference = stored.reference if isinstance(stored, Stored) else None
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or text_of(reference[0]) != 'storage':
        raise TorchFileFault('a tensor has no storage')
    kind, key, elements = reference[1], text_of(reference[2]), reference[4]
    dtype = _STORAGES.get(kind.name.rpartition(' ')[2]) if isinstance(kind, Named) else None
    if dtype is None or key is None or not is_size(elements):
        raise TorchFileFault('a tensor has a storage of a kind that is not known')
    if len(reference) == 6 and reference[5] is not None:
        raise TorchFileFault('it was written by a torch before 0.4: load and save it with a newer one')
    return Storage(dtype, key, elements)


def text_of(value: Any) -> str | None:
    """A text, or a number as one, which old files have in several types; None for anything else."""
    if isinstance(value, bytes):
        return value.decode('ascii', 'replace')
    return str(value) if isinstance(value, str) or is_size(value) else None


def is_size(value: Any) -> bool:
    """Whether a value can be a size, a stride or an offset."""
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


def made(name: str, arguments: tuple) -> Any:
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
            return made(arguments[0].name, arguments[2])
    _check_harmless(name, arguments)
    return Made(name, arguments)
