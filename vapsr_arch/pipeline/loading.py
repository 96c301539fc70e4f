"""Networks with weights, for `vapsr upscale` and `vapsr export`: those of option files and those that plugins register."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from vapsr_arch.archs.common.adapted import bare
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.options.faults import fault
from vapsr_arch.options.reading import load_options
from vapsr_arch.pipeline.checks import check_types
from vapsr_arch.pipeline.networks import SPANDREL, Spandrel, build_network
from vapsr_arch.pipeline.plugins import load_plugins
from vapsr_arch.pipeline.registration import own_name, registered
from vapsr_arch.weights import networks
from vapsr_arch.weights.checkpoints import read_weights
from vapsr_arch.weights.described import described
from vapsr_arch.weights.names import find_weights


def load_network(weights: str | os.PathLike | None = None, opt: str | os.PathLike | None = None, *, plugins: Sequence[str] = (),
                 scale: int | None = None, param_key: str | None = None, log: Callable[[str], None] | None = None) -> nn.Module:
    """The network of an option file, or one that a plugin registers, with weights: for `Upscaler` and exports.

    Args:
        weights: A checkpoint or its name, as for `find_weights`; None for `path.pretrain_network_g` of `opt`.
        opt: A test option file; its `network_g`, `plugins`, `scale`, `path.param_key_g` and `path.strict_load_g` count. None
            where the weights determine the network: those of this package, those that `plugins` register and that have a class
            method `infer` like theirs, and what spandrel knows.
        plugins: Modules and files to import, as for `load_plugins`, beside those that `opt` names.
        scale: What the scale must be; with PAN's weights and without `opt`, the scale itself.
        param_key: The key of the checkpoint under which the weights are; None for that of `opt`, or else the EMA's.
        log: Is called with a sentence that says which weights are taken.

    Returns:
        The network, in evaluation mode, float32, on the CPU, with what `described` gives it.

    Raises:
        OptionsError: The option file or a plugin has faults.
        VapsrError: The weights do not fit, or the network is not known or has another scale.
    """
    if opt is None:
        load_plugins(plugins)
        return described(networks.build_network(find_weights(weights), scale, param_key, _inferring(), log), scale)
    options = load_options(opt, is_train=False)
    load_plugins([*options.get('plugins', []), *plugins])
    paths = options['path']
    if weights is not None:
        paths['pretrain_network_g'] = str(weights)
    if not paths.get('pretrain_network_g'):
        raise OptionsError(fault(opt, 'path.pretrain_network_g', 'is required, unless the weights are given beside --opt'))
    check_types(opt, options)
    checkpoint = find_weights(os.path.expanduser(paths['pretrain_network_g']))
    param_key = param_key or paths.get('param_key_g')
    if options['network_g']['type'] == SPANDREL:
        network = Spandrel(checkpoint, param_key)
    else:
        network = build_network(options['network_g'])
        said = networks.load_into(bare(network), checkpoint, param_key, paths.get('strict_load_g', True))
        if log:
            log(said)
    network = described(network.eval(), options['scale'])
    if scale not in (None, network.scale):
        raise VapsrError(f'{opt} is for x{network.scale}, not x{scale}')
    return network


def name_network(weights: str | os.PathLike, opt: str | os.PathLike | None = None, *, plugins: Sequence[str] = (),
                 param_key: str | None = None) -> tuple[str, dict[str, Any]] | None:
    """What weights belong to, by its registered name and with its arguments; None if no network recognises them.

    Args:
        weights: A checkpoint.
        opt: As for `load_network`, which checks that the weights fit.
        plugins: As for `load_network`.
        param_key: As for `load_network`.

    Raises:
        OptionsError: The option file or a plugin has faults.
        VapsrError: The weights do not fit the option file's network.
    """
    if opt is None:
        load_plugins(plugins)
        known = _inferring()
        return networks.infer(read_weights(weights, param_key, lambda tensors: networks.fit(tensors, known)).tensors, known)
    network = load_network(weights, opt, plugins=plugins, param_key=param_key)
    arguments = dict(load_options(opt, is_train=False)['network_g'])
    if arguments['type'] == SPANDREL:
        return network.architecture, {}
    return arguments.pop('type'), arguments


def _inferring() -> dict[str, type[nn.Module]]:
    """The registered networks that recognise their weights by a class method `infer`, like those of this package."""
    from basicsr.utils.registry import ARCH_REGISTRY
    return {name: network for name, network in registered(ARCH_REGISTRY).items()
            if callable(getattr(network, 'infer', None)) and own_name(name) == name}
