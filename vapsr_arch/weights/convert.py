"""Checkpoints as safe files: one network's weights without wrappers, and where they come from."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vapsr_arch.downloads import file_sum
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.weights.checkpoints import read_weights
from vapsr_arch.weights.networks import fit, infer


def convert(source: str | os.PathLike, out: str | os.PathLike, force: bool = False, param_key: str | None = None,
            network: tuple[str, Mapping[str, Any]] | None = None) -> str:
    """Writes the weights that a checkpoint is used with, alone.

    Args:
        source: The checkpoint, as for `checkpoints.read_weights`.
        out: The file to write. `.safetensors`, with text about the weights: `network` and its `arguments` as JSON where the
            weights determine them, `source` and its `source_sha256`, `key` where they were under one. Or `.pth`: a dictionary
            with the one key `params`.
        force: Whether `out` may be there already.
        param_key: As for `checkpoints.read_weights`: the EMA's weights come first.
        network: The network's name and arguments; None for what the weights determine.

    Returns:
        A sentence: what was written.

    Raises:
        OptionsError: `out` has another suffix.
        VapsrError: `out` is there, or `source` is no checkpoint.
    """
    source, out = Path(source), Path(out)
    if out.suffix not in ('.safetensors', '.pth'):
        raise OptionsError(f'{out}: the suffix must be .safetensors or .pth')
    if out.exists() and not force:
        raise VapsrError(f'{out} exists already: choose another name, or replace it with --force')
    weights = read_weights(source, param_key, fit)
    # Neither format is to keep a memory layout; safetensors refuses tensors that share memory.
    state_dict = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.tensors.items()}
    name, arguments = network or infer(state_dict) or (None, {})
    if network is None and name == 'PAN' and arguments['scale'] != 4:
        del arguments['scale']  # the weights for x2 and x3 have the same shapes
    with written_whole(out) as temporary:
        if out.suffix == '.pth':
            torch.save({'params': state_dict}, temporary)
        else:
            import safetensors.torch
            facts = {'network': name, 'arguments': arguments and json.dumps(arguments), 'source': source.name,
                     'source_sha256': file_sum(source, 'sha256'), 'key': weights.key}
            safetensors.torch.save_file(state_dict, temporary, {'format': 'pt'} | {k: v for k, v in facts.items() if v})
    known = f'{name}({", ".join(f"{key}={value}" for key, value in arguments.items())})' if name else 'unknown network'
    count = sum(tensor.numel() for tensor in state_dict.values())
    return f'{out}: {known}, {count:,} parameters, from {source}{weights.taken}'
