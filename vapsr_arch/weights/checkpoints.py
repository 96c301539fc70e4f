"""Checkpoint files: read without running code from them, whatever wrapper their weights lie in."""

import os
import pickle
import struct
from collections.abc import Mapping

import torch
from torch import Tensor

from vapsr_arch.errors import VapsrError

# Where checkpoints keep their weights, the EMA's first: BasicSR's two, then what other projects write.
KEYS = ('params_ema', 'params', 'state_dict', 'model', 'model_state_dict', 'net_g', 'generator')


def _read(path: str | os.PathLike) -> object:
    if not os.path.isfile(path):
        raise VapsrError(f'{path}: there is no such checkpoint')
    if str(path).endswith('.safetensors'):
        import safetensors.torch
        try:
            return safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise VapsrError(f'{path} is not a safetensors file, or is damaged: {error}') from None
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        raise VapsrError(f'{path} is not a checkpoint of weights alone: it is damaged, or holds Python objects, which are '
                         f'not loaded because they can run code') from None
    except (RuntimeError, OSError) as error:
        reason = str(error).partition('\n')[0].partition('. ')[0]
        raise VapsrError(f'{path} is not a checkpoint, or is damaged: {reason}') from None
    except (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, TypeError, ValueError, struct.error):
        raise VapsrError(f'{path} is not a checkpoint, or is damaged') from None  # the unpickler's reasons say nothing


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def load_state_dict(path: str | os.PathLike, param_key: str | None = None) -> tuple[dict[str, Tensor], str | None]:
    """Reads the weights from a checkpoint.

    Args:
        path: A file of torch.save or safetensors: the weights themselves or a dictionary of such under the names of
            `KEYS`.
        param_key: The name to take; None for the EMA's weights if there are any, else the network's own.

    Returns:
        The tensors by name, without a `module.` prefix, and the key they lay under; None for weights without a wrapper.

    Raises:
        VapsrError: The file is missing, is not a checkpoint, or does not have the key; those present are listed.
    """
    content = _read(path)
    if _is_state_dict(content) and param_key is None:
        weights = content
    else:
        present = {key: value for key, value in content.items() if _is_state_dict(value)} \
            if isinstance(content, Mapping) else {}
        found = [param_key] if param_key else [key for key in KEYS if key in present]
        if not found or found[0] not in present:
            what = f'no weights under {param_key!r}' if param_key else 'no weights under a known key'
            have = f'it has {", ".join(map(repr, present))}' if present else (
                'its weights lie in no key: leave param_key_g out' if _is_state_dict(content) else 'it has no weights')
            raise VapsrError(f'{path} has {what}; {have}')
        param_key = found[0]
        weights = present[param_key]
    return {name.removeprefix('module.'): tensor for name, tensor in weights.items()}, param_key
