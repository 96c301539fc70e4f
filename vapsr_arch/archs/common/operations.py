"""How many operations a network takes, as papers on super-resolution count them: from shapes alone where the network allows it.

Every function works on a copy in evaluation mode: the network it is given stays as it is. Sizes are height and width in pixels;
images have `network.num_in_ch` channels, or 3.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class Operations(NamedTuple):
    """What one forward pass takes: multiply-accumulates, and elements of the outputs of convolutions."""

    multi_adds: int
    activations: int


def multi_adds(network: nn.Module, scale: int, output_size: tuple[int, int] = (720, 1280)) -> int:
    """Multiply-accumulates of one forward pass.

    Those of convolutions, linear layers and other matrix products, scaled dot-product attention among them; biases,
    normalisations, activation functions and interpolations are not counted.

    Args:
        network: The network.
        scale: Output size over input size.
        output_size: Size of the output; see `input_size`.
    """
    return _counted(network, input_size(scale, output_size)).multi_adds


def activations(network: nn.Module, image_size: tuple[int, int] = (256, 256)) -> int:
    """Elements of the outputs of all convolutions, as the NTIRE challenges on efficient super-resolution count them.

    Linear layers are not counted, so that a network with 1x1 convolutions written as linear layers, such as BSRN-S,
    seems to have fewer.
    """
    return _counted(network, image_size).activations


def input_size(scale: int, output_size: tuple[int, int] = (720, 1280)) -> tuple[int, int]:
    """The smallest input whose output covers a size: for the default 320x180 pixels at x4, 427x240 at x3, 640x360 at x2."""
    return math.ceil(output_size[0] / scale), math.ceil(output_size[1] / scale)


def operations(network: nn.Module, image_size: tuple[int, int], device: str = 'meta') -> Operations:
    """What one image takes.

    Args:
        network: The network.
        image_size: Size of the image.
        device: A torch device. On `meta` nothing is computed: it takes milliseconds and no memory.

    Raises:
        Exception: What the network raises, on `meta` of tensors without values.
    """
    network = copy.deepcopy(network).eval().to(device, torch.float32)
    image = torch.rand(1, getattr(network, 'num_in_ch', 3), *image_size, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as products, _ConvolutionOutputs() as outputs:
        network(image)
    return Operations(products.get_total_flops() // 2, outputs.elements)


def _counted(network: nn.Module, image_size: tuple[int, int]) -> Operations:
    try:
        return operations(network, image_size)
    except Exception:  # whatever a network raises that looks at values, or makes tensors on a device of its own
        return operations(network, image_size, 'cpu')


class _ConvolutionOutputs(TorchDispatchMode):
    """Counts the elements of what convolutions return."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.convolution.default:
            self.elements += output.numel()
        return output
