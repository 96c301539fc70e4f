"""Which network weights belong to, and networks with weights in them."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.adapted import bare
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.checkpoints import read_weights
from vapsr_arch.weights.names import is_shipped
from vapsr_arch.weights.spandrel_networks import is_installed, is_supported, recognised

_NAMED = 5  # tensors that a sentence names


def infer(state_dict: Mapping[str, Tensor],
          networks: Mapping[str, type[nn.Module]] = NETWORKS) -> tuple[str, dict[str, Any]] | None:
    """The name of the network that weights belong to, and its arguments; None if unknown.

    Args:
        state_dict: Tensors by name.
        networks: Those it may be, by name; each has a class method `infer`, like those of `NETWORKS`.
    """
    if not all(tensor.numel() for tensor in state_dict.values()):
        return None  # of no layer: the arguments would be zero
    for name, network in networks.items():
        arguments = network.infer(state_dict)
        if arguments is not None:
            return name, arguments
    return None


def fit(state_dict: Mapping[str, Tensor], networks: Mapping[str, type[nn.Module]] = NETWORKS) -> float:
    """How well weights fit the network that they belong to: 1 for each layer, 0.5 for some, 0 for no network; as for `infer`."""
    known = infer(state_dict, networks)
    if known is None:
        return 0
    return 0.5 if _misfit(networks[known[0]], known[1], state_dict) else 1


def identify(state_dict: Mapping[str, Tensor]) -> str | None:
    """Names the network that weights belong to, with its arguments, such as `VapSR(scale=4, ...)`; None if unknown."""
    known = infer(state_dict)
    return known and f'{known[0]}({", ".join(f"{key}={value}" for key, value in known[1].items())})'


def build_network(path: str | os.PathLike, scale: int | None = None, param_key: str | None = None,
                  networks: Mapping[str, type[nn.Module]] = NETWORKS, log: Callable[[str], None] | None = None) -> nn.Module:
    """Builds the network that a checkpoint's keys and shapes determine, with its weights, in evaluation mode.

    Args:
        path: The checkpoint, as for `read_weights`.
        scale: Output size over input size; None for the one that the weights determine. PAN's are the same for x2 and x3.
        param_key: As for `read_weights`: the EMA's weights come first.
        networks: As for `infer`.
        log: Is called with a line that says which weights are taken, where a file that is not shipped has several.

    Returns:
        One of `networks`, or what spandrel recognises; float32, on the CPU.

    Raises:
        VapsrError: The file is no checkpoint, its network is not known, or is not for this scale.
    """
    weights = read_weights(path, param_key, lambda tensors: fit(tensors, networks))
    known = infer(weights.tensors, networks)
    if known is None and is_installed():
        weights = read_weights(path, param_key, is_supported)
    if log and weights.choice and not is_shipped(path):
        log(f'{path}: {weights.choice}')
    state_dict = weights.tensors
    if known is None:
        return _of_spandrel(state_dict, path, scale, networks)
    name, arguments = known
    scale_key = 'upscale' if 'upscale' in arguments else 'scale'
    if scale and scale_key in arguments:
        arguments = arguments | {scale_key: scale}
    wrong = _misfit(networks[name], arguments, state_dict)
    if wrong and arguments != known[1]:
        raise VapsrError(f'{path} holds a {name} for x{known[1][scale_key]}, not x{scale}')
    if wrong:
        raise VapsrError(f'{path} looks like a {name}, but does not fit it: {wrong}')
    network = networks[name](**arguments)
    network.load_state_dict(state_dict)
    return network.eval()


def _of_spandrel(state_dict: Mapping[str, Tensor], path: str | os.PathLike, scale: int | None,
                 networks: Mapping[str, type[nn.Module]]) -> nn.Module:
    """The network that spandrel recognises; arguments and errors as for `build_network`."""
    none = f'{path}: these weights belong to no network known here ({", ".join(networks)})'
    way_out = 'a test option file says what else they are: --opt FILE'
    if not is_installed():
        raise VapsrError(f'{none}; spandrel knows some forty more: `pip install spandrel`; {way_out}')
    network = recognised(state_dict, path)
    if network is None:
        raise VapsrError(f'{none}, nor to one that spandrel knows; {way_out}')
    if scale not in (None, network.scale):
        raise VapsrError(f'{path} holds a {network.architecture} for x{network.scale}, not x{scale}')
    return network


def _misfit(network: type[nn.Module], arguments: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> str | None:
    """As `mismatch`, for a network that is not built yet: it may be far larger than the weights, which one layer determined."""
    try:
        with torch.device('meta'):
            return mismatch(network(**arguments), state_dict)
    except (RuntimeError, NotImplementedError):  # a third-party network that computes with its weights
        return mismatch(network(**arguments), state_dict)
    except (ValueError, ArithmeticError) as error:
        return str(error)


def mismatch(network: nn.Module, state_dict: Mapping[str, Tensor]) -> str | None:
    """The first layer in which weights do not fit a network, with both shapes; None where all fit."""
    own = network.state_dict()
    for name, tensor in own.items():
        if name in state_dict and tensor.shape != state_dict[name].shape:
            shapes = ' and '.join('x'.join(map(str, shape)) for shape in (state_dict[name].shape, tensor.shape))
            return f'{name} differs in shape (file and network: {shapes})'
    for present, absent, where in ((own, state_dict, 'the file'), (state_dict, own, 'the network')):
        names = [name for name in present if name not in absent]
        if names:
            shape = 'x'.join(map(str, present[names[0]].shape))
            return f'{names[0]} ({shape}) is not in {where}' + (f', nor {len(names) - 1} more' if names[1:] else '')
    return None


def load_into(network: nn.Module, path: str | os.PathLike, param_key: str | None = None,
              strict: bool = True) -> str:
    """Loads a checkpoint's weights into a network.

    Args:
        network: The network.
        path: The checkpoint, as for `read_weights`.
        param_key: As for `read_weights`.
        strict: Whether every layer must fit; otherwise those that do are loaded.

    Returns:
        A sentence for the log: what was loaded and what was left, of the network and of the file.

    Raises:
        VapsrError: The weights do not fit, or, not strictly, not one layer does; the sentence names the first layer, both
            shapes and, where its keys say so, what the file is.
    """
    network = bare(network)
    own = network.state_dict()
    weights = read_weights(path, param_key, lambda tensors: _share(own, tensors))
    state_dict = weights.tensors
    wrong = mismatch(network, state_dict)
    fitting = {name: tensor for name, tensor in state_dict.items() if name in own and own[name].shape == tensor.shape}
    if wrong and (strict or not fitting):
        known = identify(state_dict)
        raise VapsrError(f'{path} does not fit {type(network).__name__}: {wrong}'
                         + (f'; the file is a {known}' if known else ''))
    network.load_state_dict(fitting, strict=False)
    loaded = f'{len(fitting)} of {len(own)} tensors' if wrong else 'all tensors'
    left = ''.join(f'; {what} {_first_names([name for name in names if name not in fitting])}'
                   for what, names in (('the network keeps its own', own), ('the file\'s are not used:', state_dict))
                   if names.keys() - fitting.keys())
    return f'{type(network).__name__}: {loaded} loaded from {path}{weights.taken}' + left


def _share(own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The share of tensors that two networks have in common, by name and shape."""
    fitting = sum(name in own and own[name].shape == tensor.shape for name, tensor in others.items())
    return fitting / len(own.keys() | others.keys())


def _first_names(names: list[str]) -> str:
    """Some of many names, and how many more there are."""
    more = len(names) - _NAMED
    return ', '.join(names[:_NAMED]) + (f' and {more} more' if more > 0 else '')
