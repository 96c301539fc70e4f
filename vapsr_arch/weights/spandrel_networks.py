"""Networks that spandrel recognises in a checkpoint, some forty architectures, for those who compare and for `vapsr upscale`."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from vapsr_arch.errors import VapsrError


class SpandrelNetwork(nn.Module):
    """A network of spandrel's, as the others here: [0, 1] RGB in and out, of any size.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.

    Attributes:
        scale: The enlargement.
        num_in_ch: Channels of the input: 1 or 3.
        min_size: 1: spandrel pads what is smaller than the network takes.
        halo: None: not known.
        tiles: Whether tiles of an image may be upscaled one by one.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        from spandrel import ModelTiling
        self.descriptor = descriptor
        self.network: nn.Module = descriptor.model
        self.scale: int = descriptor.scale
        self.num_in_ch: int = descriptor.input_channels
        self.min_size = 1
        self.halo: int | None = None
        self.tiles: bool = descriptor.tiling == ModelTiling.SUPPORTED
        self.architecture: str = descriptor.architecture.name

    def forward(self, x: Tensor) -> Tensor:
        """Upscales N x num_in_ch x H x W in [0, 1]; the result lies in [0, 1]."""
        return torch.cat([self.descriptor(image[None]) for image in x])

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inner network's."""
        return self.network.state_dict(*args, **kwargs)


def load_network(path: str | os.PathLike) -> SpandrelNetwork:
    """The network of a checkpoint, with its weights, in evaluation mode, on the CPU.

    Args:
        path: A `.pth` or `.safetensors` file.

    Raises:
        VapsrError: spandrel is not installed, does not know the network, or it is not one that upscales or restores images.
    """
    from vapsr_arch.torchvision_operators import define_torchvision_operators
    from vapsr_arch.weights.checkpoints import load_state_dict
    define_torchvision_operators()
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ModuleNotFoundError:
        raise VapsrError(f'{path}: to recognise its network, spandrel is needed: `pip install spandrel`') from None
    state_dict, _ = load_state_dict(path)  # spandrel's own reading runs no code either, but says less
    try:
        descriptor = ModelLoader('cpu').load_from_state_dict(state_dict)
    except UnsupportedModelError:
        raise VapsrError(f'{path}: the network of these weights is none that spandrel knows') from None
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError, IndexError) as error:
        raise VapsrError(f'{path}: spandrel cannot build the network of these weights: {str(error).splitlines()[0]}') from None
    if not isinstance(descriptor, ImageModelDescriptor):
        raise VapsrError(f'{path}: a {descriptor.architecture.name} is not a network that upscales single images')
    return SpandrelNetwork(descriptor.eval())
