"""A limit on the memory that networks may take while they are built: a file of some bytes can describe one of many gigabytes."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from vapsr_arch.errors import VapsrError

_MAX_TENSORS = 10_000  # on the meta device, too: each takes time, half a millisecond at most
_SPARE = 2**29  # bytes beyond twice the file's, whose weights may be halves


class Allowance(TorchDispatchMode):
    """Refuses tensors before memory is taken for them, once those made within the context are too many or too large.

    Args:
        path: The checkpoint whose networks are built in the context. None of those that spandrel knows makes 4,000 tensors, nor
            takes more than 2.6 times the bytes of its weights.

    Raises:
        VapsrError: What is built needs more.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self._path = path
        self._tensors = _MAX_TENSORS
        self._memory = 2 * os.path.getsize(path) + _SPARE

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None) -> Any:
        """Does one operation of torch, unless its result is too large."""
        kwargs = kwargs or {}
        if not any(result.alias_info for result in func._schema.returns):  # else it gives what exists already
            self._tensors -= 1
            if not any(map(_is_on_meta, tree_flatten((args, kwargs))[0])):
                self._memory -= _size_of_result(func, args, kwargs)
            if self._tensors < 0 or self._memory < 0:
                raise VapsrError(f'{self._path}: a network of such layers would be far larger than the file')
        return func(*args, **kwargs)


def _is_on_meta(value: Any) -> bool:
    device = value.device if isinstance(value, Tensor) else value
    return isinstance(device, torch.device) and device.type == 'meta'


def _size_of_result(func: Any, args: tuple, kwargs: dict) -> int:
    """Bytes of what an operation makes, found without making it; 0 where the values of its inputs determine that."""
    try:
        results = func(*tree_map(_on_meta, args), **tree_map(_on_meta, kwargs))
    except (NotImplementedError, RuntimeError):
        return 0
    return sum(result.numel() * result.itemsize for result in tree_flatten(results)[0] if isinstance(result, Tensor))


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device='meta')
    return torch.device('meta') if isinstance(value, torch.device) else value
