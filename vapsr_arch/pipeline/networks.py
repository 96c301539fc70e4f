"""Builds the network that an option file's `network_g` describes, whoever wrote it."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import nn

from vapsr_arch.archs.common.adapted import adapted
from vapsr_arch.pipeline.plugins import beside_class, class_of, names_class_of_file
from vapsr_arch.pipeline.registration import own_name, registered

ADAPTATIONS = ('img_range', 'size_multiple')  # keys of `network_g` that are no arguments of the network
SPANDREL = 'Spandrel'


def Spandrel(checkpoint: str, param_key: str | None = None) -> nn.Module:
    """The network that spandrel recognises in a checkpoint, with its weights: `network_g: {type: Spandrel}`."""
    from vapsr_arch.weights.spandrel_networks import load_network
    return load_network(checkpoint, param_key)


def network_class(name: str) -> Callable:
    """What `network_g.type` names: a registered network, or `path/to/file.py:ClassName`.

    Raises:
        KeyError: No network is registered under that name.
        VapsrError: The file cannot be imported, or has no such class.
    """
    from basicsr.utils.registry import ARCH_REGISTRY
    if names_class_of_file(name):
        return class_of(name)
    return Spandrel if name == SPANDREL else registered(ARCH_REGISTRY)[own_name(name)]


def parameters_of(function: Callable) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or a function."""
    return {name: parameter for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)}


def _adaptations(function: Callable, arguments: dict[str, Any]) -> dict[str, Any]:
    """Takes the adaptations out of a network's arguments; the multiple of a network with windows is the window's size."""
    own = parameters_of(function)
    wanted = {key: arguments.pop(key) for key in ADAPTATIONS if key in arguments and key not in own}
    if 'window_size' in own and 'size_multiple' not in wanted:
        window = arguments.get('window_size', own['window_size'].default)
        if isinstance(window, int):
            wanted['size_multiple'] = window
    return wanted


def build_network(network_g: dict[str, Any]) -> nn.Module:
    """A network with random weights, taking [0, 1] and any size.

    Args:
        network_g: `type`, the arguments, and where they are needed `img_range` (255 where the network works in [0, 255]) and
            `size_multiple` (what heights and widths must be multiples of).
    """
    arguments = dict(network_g)
    name = arguments.pop('type')
    function = network_class(name)
    adaptations = _adaptations(function, arguments)
    with beside_class(name) if names_class_of_file(name) else nullcontext():
        network = function(**arguments)
    return adapted(network, **adaptations)


def for_basicsr(network_g: dict[str, Any]) -> dict[str, Any]:
    """A `network_g` that BasicSR's own `build_network` builds as `build_network` here does.

    Where more is to be done than to call a registered class, a function that does it is registered under a name of its own;
    the arguments stay as they are, since some models of BasicSR look at them.
    """
    from basicsr.utils.registry import ARCH_REGISTRY
    name = own_name(network_g['type'])
    function = network_class(name)
    if name in ARCH_REGISTRY and not _adaptations(function, dict(network_g)):
        return {**network_g, 'type': name}
    label = f'{name} (adapted)'
    if label not in ARCH_REGISTRY:
        def build(**arguments: Any) -> nn.Module:
            return build_network({'type': name, **arguments})
        build.__name__ = label
        ARCH_REGISTRY.register(build)
    return {**network_g, 'type': label}
