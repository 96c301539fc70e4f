"""Networks that spandrel recognises in a checkpoint, some forty architectures, for comparisons and `vapsr upscale`."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.adapted import padded
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.allowance import Allowance
from vapsr_arch.weights.checkpoints import read_weights


class SpandrelNetwork(nn.Module):
    """A network of spandrel's, like the others here: [0, 1] in and out, of any size.

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.

    Attributes:
        architecture: What spandrel calls the network.
        scale: Output size over input size.
        num_in_ch: Channels of the input.
        min_size: 1: spandrel pads what is smaller than the network takes.
        graph_min_size: The smallest height and width that an exported graph takes.
        halo: None: not known.
        tiles: Whether tiles of an image may be upscaled one by one.
        precisions: What the network may compute in: `fp32`, `bf16`, `fp16`.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        from spandrel import ModelTiling
        self.descriptor = descriptor
        self.network: nn.Module = descriptor.model
        self.architecture: str = descriptor.architecture.name
        self.scale: int = descriptor.scale
        self.num_in_ch: int = descriptor.input_channels
        self.min_size = 1
        needed = descriptor.size_requirements
        self.size_multiple: int = needed.multiple_of
        self.graph_min_size: int = max(1, needed.minimum, needed.multiple_of // 2 + 1)
        self.halo: int | None = None
        self.tiles: bool = descriptor.tiling == ModelTiling.SUPPORTED
        self.precisions = ('fp32', *('bf16',) * descriptor.supports_bfloat16, *('fp16',) * descriptor.supports_half)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales N x num_in_ch x H x W in [0, 1]; the result lies in [0, 1]."""
        if not torch.jit.is_tracing():
            return self.descriptor(x)
        height, width = x.shape[2:]
        y = self.descriptor(padded(x, self.size_multiple))  # spandrel's own padding is not to be traced
        return y[:, :, :height * self.scale, :width * self.scale]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inner network's."""
        return self.network.state_dict(*args, **kwargs)


def is_installed() -> bool:
    """Whether there is spandrel, the extra `[spandrel]`; it is imported."""
    from vapsr_arch.torchvision_operators import define_torchvision_operators
    define_torchvision_operators()
    try:
        import spandrel  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != 'spandrel':
            raise
        return False
    return True


def is_supported(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether spandrel, which must be installed, knows a network whose weights have such names."""
    from spandrel import MAIN_REGISTRY
    return any(support.detect(state_dict) for support in MAIN_REGISTRY)


def recognised(state_dict: Mapping[str, Tensor], path: str | os.PathLike) -> SpandrelNetwork | None:
    """The network that spandrel, which must be installed, recognises in weights; None if it knows none.

    Args:
        state_dict: Tensors by name.
        path: The file that they come from.

    Returns:
        The network with its weights, in evaluation mode, on the CPU.

    Raises:
        VapsrError: spandrel fails to build it, or it is not one that upscales or restores single images.
    """
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    try:
        with Allowance(path):
            descriptor = ModelLoader('cpu').load_from_state_dict(dict(state_dict))
    except UnsupportedModelError:
        return None
    except VapsrError:
        raise
    except Exception as error:  # some forty authors' ways to build a network of odd weights
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise VapsrError(f'{path}: spandrel cannot build the network of these weights: {reason}') from None
    if not isinstance(descriptor, ImageModelDescriptor):
        raise VapsrError(f'{path}: a {descriptor.architecture.name} is not a network that upscales single images')
    return SpandrelNetwork(descriptor).eval()


def load_network(path: str | os.PathLike, param_key: str | None = None) -> SpandrelNetwork:
    """The network that spandrel recognises in a checkpoint, with its weights, in evaluation mode, on the CPU.

    Args:
        path: A `.pth` or `.safetensors` file.
        param_key: As for `checkpoints.read_weights`.

    Raises:
        VapsrError: spandrel is not installed, does not know the network, or it is not one that upscales or restores images.
    """
    if not is_installed():
        raise VapsrError(f'{path}: to recognise its network, spandrel is needed: `pip install spandrel`')
    state_dict = read_weights(path, param_key, is_supported).tensors
    network = recognised(state_dict, path)
    if network is None:
        raise VapsrError(f'{path}: the network of these weights is not one that spandrel knows')
    return network
