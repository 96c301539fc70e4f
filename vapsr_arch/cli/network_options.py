"""The arguments that describe a network to `vapsr upscale` and `vapsr export` where its weights do not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vapsr_arch.errors import OptionsError

if TYPE_CHECKING:
    from torch import nn

OptFile = Annotated[Path | None, typer.Option('-opt', '--opt', metavar='FILE', help='A test option file that says what the '
                                              'network is, where the weights do not: its network_g, plugins and checkpoint.')]
ParamKey = Annotated[str | None, typer.Option('--param-key', metavar='KEY', help="The key of a checkpoint's weights; by default "
                                              "the EMA's, if there are any.")]


def checkpoint_of(opt: Path) -> str:
    """The checkpoint that a test option file names.

    Raises:
        OptionsError: The file has faults, or names none.
    """
    from vapsr_arch.options.faults import fault
    from vapsr_arch.options.reading import load_options
    checkpoint = load_options(opt, is_train=False)['path'].get('pretrain_network_g')
    if not checkpoint:
        raise OptionsError(fault(opt, 'path.pretrain_network_g', 'is required, unless the weights are given beside --opt'))
    return os.path.expanduser(checkpoint)


def described_network(weights: str | None, opt: Path | None, plugins: list[str] | None, scale: int | None,
                      param_key: str | None, log: Callable[[str], None] | None = None) -> 'nn.Module | None':
    """The network that an option file or a plugin describes, with its weights; None where neither is given.

    Raises:
        OptionsError: Plugins are given, and neither weights nor an option file.
    """
    if not opt and not plugins:
        return None
    if not opt and weights is None:
        raise OptionsError('--plugin registers networks: say by --weights or --opt which is to be used')
    from vapsr_arch.pipeline.loading import load_network
    return load_network(weights, opt, plugins=plugins or (), scale=scale, param_key=param_key, log=log)
