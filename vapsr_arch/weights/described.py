"""What engines and exports need to know of a network: scale, channels and smallest image; measured for third-party ones."""

import torch
from torch import nn

from vapsr_arch.archs.common.adapted import AdaptedNetwork
from vapsr_arch.errors import VapsrError

_ASKED = ('scale', 'num_in_ch', 'min_size', 'halo')
_SIDES = (1, 4, 16, 64)  # pixels of trial images: of few networks the smallest is another, and those lose little
_CHANNELS = (3, 1)


def described(network: nn.Module, scale: int | None = None) -> nn.Module:
    """A network that says what engines and exports ask for.

    Args:
        network: Any that takes N x C x H x W in [0, 1] and gives N x C x sH x sW.
        scale: What its scale must be; None if that is not known.

    Returns:
        The network itself, if it has the attributes `scale`, `num_in_ch`, `min_size` and `halo`; else an `AdaptedNetwork`
        around it that has them, for which small images were tried.

    Raises:
        VapsrError: The network upscales by another scale or by no integer, or takes no image that was tried.
    """
    if all(isinstance(getattr(network, name, None), int) for name in _ASKED[:-1]) and hasattr(network, _ASKED[-1]):
        result = network
    else:
        result = network if isinstance(network, AdaptedNetwork) else AdaptedNetwork(network)
        result.num_in_ch, result.min_size, result.scale = _measured(result.eval())
    if scale not in (None, result.scale):
        name = type(getattr(result, 'network', result)).__name__
        raise VapsrError(f'{name} upscales by x{result.scale}, not by x{scale}')
    return result


def _measured(network: AdaptedNetwork) -> tuple[int, int, int]:
    """Channels of the input, smallest image that is taken, and scale."""
    device = next((parameter.device for parameter in network.parameters()), 'cpu')
    reasons = {}
    for channels in _CHANNELS:
        for side in _SIDES:
            try:
                with torch.inference_mode():
                    height, width = network(torch.full((1, channels, side, side + 1), 0.5, device=device)).shape[2:]
            except Exception as error:  # whatever a third-party network does with such an image
                reasons[channels] = str(error).partition('\n')[0]
                continue
            if height and height % side == 0 and width * side == height * (side + 1):
                return channels, side, height // side
            reasons[channels] = f'of {side + 1}x{side} pixels it makes {width}x{height}, which is no upscaling by an integer'
    raise VapsrError(f'{type(network.network).__name__} upscales neither RGB ({reasons[3]}) nor grey ({reasons[1]})')
