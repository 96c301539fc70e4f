"""Damaged checkpoints, and whole ones with contents that are no network's."""

import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st

from tests.fuzz.cases import Outcome, damaged, taken
from vapsr_arch.archs import NETWORKS
from vapsr_arch.weights.checkpoints import load_state_dict
from vapsr_arch.weights.networks import build_network

Case = tuple[str, bytes]  # a suffix and a file's bytes

_NAMES = ('conv_first.weight', 'body.0.proj_1.weight', 'body.999999999.proj_1.weight', 'body.x.y', 'body.-1.proj_1.weight',
          'module.conv_first.weight', '_orig_mod.conv_first.weight', 'conv_up1.weight', 'params', 'params_ema', 'state_dict', '')
_WRAPPERS = ('params', 'params_ema', 'state_dict', 'model', 'net_g', 'ema', 'weights', 'else')


def _saved(content: Any, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


@functools.cache
def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return NETWORKS['VapSR'](num_feat=8, num_block=1, d_atten=8, scale=2).state_dict()


def _tensor(shape: list[int], kind: str) -> torch.Tensor:
    if kind == 'one element':
        large = 2 ** (60 // max(1, len(shape)))  # torch makes none of more elements than 2**63
        return torch.zeros(()).expand([large if side == 3 else side for side in shape])
    if kind == 'meta':
        return torch.empty(shape, device='meta')
    if kind == 'sparse':
        return torch.zeros(shape).to_sparse()
    if kind == 'not a number':
        return torch.full(shape, float('nan'))
    return torch.zeros(shape, dtype=getattr(torch, kind))


def _contents() -> st.SearchStrategy[bytes]:
    """Dictionaries of tensors and other things, within one another."""
    tensors = st.builds(_tensor, st.lists(st.integers(0, 4), max_size=5), st.sampled_from(
        ('float32', 'float16', 'bfloat16', 'int64', 'bool', 'complex64', 'one element', 'meta', 'sparse', 'not a number')))
    values = st.one_of(tensors, tensors, st.integers(), st.none(), st.text(max_size=5), st.lists(st.integers(), max_size=3))
    keys = st.one_of(st.sampled_from(_NAMES), st.sampled_from(sorted(_weights())), st.integers(0, 3), st.text(max_size=3))
    changed = st.dictionaries(keys, values, max_size=4).map(lambda changes: _weights() | changes)
    states = st.one_of(changed, st.dictionaries(keys, values, max_size=4))
    wrapped = st.recursive(states, lambda inner: st.dictionaries(
        st.sampled_from(_WRAPPERS), st.one_of(inner, values), min_size=1, max_size=3), max_leaves=4)
    return wrapped.map(_saved)


def cases() -> st.SearchStrategy[Case]:
    """Suffixes with a file's bytes."""
    small = {name: tensor for name, tensor in _weights().items() if tensor.numel() < 100}
    zips = [_saved({'params': _weights()}), _saved(small), _saved({'state_dict': small, 'epoch': 3})]
    return st.one_of(st.tuples(st.just('.pth'), damaged(zips)),
                     st.tuples(st.just('.pth'), damaged([_saved(small, _use_new_zipfile_serialization=False)])),
                     st.tuples(st.just('.safetensors'), damaged([safetensors.torch.save(small)])),
                     st.tuples(st.just('.pth'), _contents()))


def _read(path: Path) -> None:
    load_state_dict(path)
    build_network(path)


def run(case: Case) -> Outcome:
    """Reads a checkpoint, and builds its network."""
    suffix, content = case
    with tempfile.TemporaryDirectory(prefix='vapsr-fuzz-') as folder:
        path = Path(folder, f'x{suffix}')
        path.write_bytes(content)
        return taken(functools.partial(_read, path), len(content))
