"""Checkpoint files: read without running code from them, whatever wrapper their weights are in."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.allowance import Allowance
from vapsr_arch.weights.stored_tensors import CodeFault, StrangeTensor, TorchFileFault
from vapsr_arch.weights.torch_files import TorchFile, is_torch_file
from vapsr_arch.weights.unwrapping import (
    PARALLEL,
    Holder,
    asked_for,
    find_holders,
    is_tensor,
    namings,
    ordered,
    whole_network,
    without_parallel,
)

_MAX_HEADER = 2**24  # bytes of a safetensors file's header; of a network with 10,000 tensors it has 2**20
_GAPS = 10  # numbered layers without weights, such as activations, for each with weights
_FEW = 400  # names of tensors, of which each can stand for forty; the authors' checkpoints have up to 346
_MAX_TRIALS = 200  # dictionaries and prefixes; a checkpoint has some ten
_SHOWN = 60  # characters of a name in a sentence

Fits = Callable[[Mapping[str, Tensor]], float]


@dataclass
class Weights:
    """The weights that were taken from a checkpoint.

    Attributes:
        tensors: By name.
        key: The key they were under, several joined by dots; None for weights without a wrapper.
        prefix: What was left out at the start of their names.
        others: Other keys under which weights of a network were.
    """

    tensors: dict[str, Tensor]
    key: str | None
    prefix: str = ''
    others: list[str] = field(default_factory=list)

    @property
    def taken(self) -> str:
        """What was taken, to be put behind the file's name; empty where the names are those of a network without a wrapper."""
        own = [part for part in self.prefix.split('.') if part and part not in PARALLEL]
        return (f', key {self.key}' if self.key else '') + (f', without the prefix {self.prefix}' if own else '')

    @property
    def choice(self) -> str | None:
        """A sentence about what was taken where there were several weights to choose from; None where there were not."""
        return f'its weights{self.taken}, are taken, not those of {", ".join(self.others)}' if self.others else None


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Any, Callable[[Any], Tensor]]]:
    """What a file holds, and what makes a tensor of what stands for one."""
    if not os.path.isfile(path):
        raise VapsrError(f'{path}: there is no such checkpoint')
    try:
        with open(path, 'rb') as file:
            start = file.read(16)
            if str(path).endswith('.safetensors') or (start[8:9] == b'{' and not is_torch_file(start)):
                yield _read_safetensors(path, int.from_bytes(start[:8], 'little')), lambda tensor: tensor
                return
            opened = TorchFile(file)
            yield opened.content, opened.tensor
    except CodeFault as fault:
        raise VapsrError(f'{path} is not a checkpoint of weights alone: it is damaged, or holds Python objects ({fault}), which '
                         f'are not loaded because they can run code') from None
    except TorchFileFault as fault:
        raise VapsrError(f'{path} is not a checkpoint, or is damaged: {str(fault).partition(". ")[0]}') from None
    except OSError as error:
        raise VapsrError(f'{path} cannot be read: {error.strerror or error}') from None
    except MemoryError:
        raise VapsrError(f'{path}: there is not enough memory for its weights') from None


def _read_safetensors(path: str | os.PathLike, header: int) -> dict[str, Tensor]:
    import safetensors.torch
    try:
        if header > _MAX_HEADER:
            raise ValueError('its header is larger than that of any checkpoint')
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).partition('\n')[0]
        raise VapsrError(f'{path} is not a safetensors file, or is damaged: {reason}') from None


def read_weights(path: str | os.PathLike, param_key: str | None = None, fits: Fits | None = None) -> Weights:
    """Reads the weights from a checkpoint.

    They may be under any of the usual keys (`state_dict`, `model`, `params`, `net_g`, `generator` ...), however nested, and
    behind prefixes of their names (`module.`, `_orig_mod.`, `model.` ...); everything else in the file is ignored. The
    weights of an exponential moving average come first.

    Args:
        path: A file of torch.save or safetensors.
        param_key: The key to take, several joined by dots, or the prefix of names; None for the usual ones.
        fits: How well weights by such names are what is looked for, 0 to 1; it determines which prefixes belong to the names,
            and which of several dictionaries is taken. None to leave only those prefixes out that torch's own wrappers give.

    Returns:
        The weights.

    Raises:
        VapsrError: The file is missing, is not a checkpoint, or does not have the key; those present are listed.
    """
    with _opened(path) as (content, make):
        holders, depth = find_holders(content), 0
        candidates = holders
        if param_key is not None:
            candidates, depth = asked_for(holders, param_key)
        candidates = ordered(candidates, depth)
        if not candidates or not (param_key or len(candidates) == 1 or candidates[0].is_known):
            raise VapsrError(f'{path} {_nothing(param_key, holders, content)}')
        usual = [holder for holder in candidates if holder.is_known]
        tried = (usual or candidates) if not param_key else candidates
        holder, tensors, prefix = _best(path, tried, make, fits)
        others = [other.key for other in usual if other.path != holder.path and other.path] if param_key is None else []
        return Weights(dict(tensors), holder.key, prefix, others)


def _best(path: str | os.PathLike, holders: list[Holder], make: Callable[[Any], Tensor],
          fits: Fits | None) -> tuple[Holder, Mapping[str, Tensor], str]:
    """The first dictionary whose weights are what is looked for, or that which comes nearest, and the prefix left out there."""
    best, best_fit, trials = None, -1.0, 0
    allowance = Allowance(path)
    for holder in holders:
        tensors = _tensors(path, holder, make)
        plain = without_parallel(tensors)
        for naming in itertools.chain([plain], namings(tensors) if fits else ()):
            # The allowance has torch import its compiler, which takes a second; few names make few layers, tried without memory.
            with allowance if len(naming[0]) > _FEW else contextlib.nullcontext():
                fit = fits(naming[0]) if fits else 1
            if fit > best_fit and (best is None or fit == 1 or best[0] is holder):
                best, best_fit = (holder, *naming), fit
            trials += 1
            if best_fit == 1 or trials == _MAX_TRIALS:
                return best
    return best


def _nothing(param_key: str | None, holders: list[Holder], content: Any) -> str:
    """What to say of a file that does not have the weights asked for."""
    network = None if holders else whole_network(content)
    if network:
        shown = ''.join(filter(str.isprintable, network))[:_SHOWN]
        return (f'holds a whole network as a Python object ({shown}), which is not loaded because it can run code: save its '
                f'weights with torch.save(network.state_dict(), ...) where it was made')
    keys = [holder.key for holder in holders if holder.key]
    what = f'has no weights under {param_key!r}' if param_key else 'has no weights under a known key'
    if keys:
        return f'{what}; it has {", ".join(map(repr, keys))}' + ('' if param_key else ': name one with --param-key or '
                                                                 'path.param_key_g')
    return f'{what}; ' + ('its weights are under no key: leave param_key_g out' if holders else 'it has no weights')


def _tensors(path: str | os.PathLike, holder: Holder, make: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    """The tensors of a dictionary, made; what else lies there is left out.

    Raises:
        VapsrError: They are of a kind that no network here has, or do not have names.
    """
    where = f'{path}' + (f', key {holder.key}' if holder.key else '')
    entries = {name: value for name, value in holder.weights.items() if is_tensor(value)}
    indices = [0]
    for name, value in entries.items():
        if not isinstance(name, str) or not name.isprintable():
            raise VapsrError(f'{where}: its weights have no names: a key is not a string, or not one that can be printed')
        if isinstance(value, StrangeTensor):
            raise VapsrError(f'{where}: {name[:_SHOWN]} is a {value.kind} tensor, which no network here has')
        numbers = [part for part in name.split('.') if part.isascii() and part.isdecimal()]
        indices += [int(number) if len(number) < 20 else 10**20 for number in numbers]
    if max(indices) > _GAPS * (len(entries) + 100):
        raise VapsrError(f'{where}: it numbers a layer {max(indices):,}, but has {len(entries):,} tensors in all')
    tensors = {}
    for name, value in entries.items():
        try:
            tensor = make(value)
        except TorchFileFault as fault:
            raise TorchFileFault(f'{name[:_SHOWN]}: {fault}') from None
        # Counters and tables of indices are whole numbers; weights that are, were quantized, and lack what they are scaled by.
        whole = name.endswith(('weight', 'bias')) and not tensor.is_floating_point()
        if whole or tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
            raise VapsrError(f'{where}: {name[:_SHOWN]} is a tensor of {tensor.dtype}, which no network here has')
        tensors[name] = tensor
    return tensors


def load_state_dict(path: str | os.PathLike, param_key: str | None = None) -> tuple[dict[str, Tensor], str | None]:
    """`read_weights` for what does not know the network: the tensors by name, and the key they were under or None."""
    weights = read_weights(path, param_key)
    return weights.tensors, weights.key
