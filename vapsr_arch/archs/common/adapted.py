"""Third-party networks, adapted: inputs in [0, 255], and sizes that must be multiples of a window."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptedNetwork(nn.Module):
    """A network that takes images in [0, 1] of any size, around one that does not.

    The image is padded at the bottom and the right by reflection, and the result cropped. The state dict is the inner
    network's, under its own names, so that checkpoints of it fit.

    Args:
        network: The inner network, N x C x H x W to N x C x sH x sW.
        img_range: The largest value of its inputs and outputs: 1 or 255.
        size_multiple: What the height and the width of its inputs must be multiples of.
    """

    def __init__(self, network: nn.Module, img_range: float = 1.0, size_multiple: int = 1) -> None:
        super().__init__()
        self.network = network
        self.img_range = img_range
        self.size_multiple = size_multiple
        self.num_in_ch: int = getattr(network, 'num_in_ch', 3)
        self.min_size: int = getattr(network, 'min_size', 1)
        self.halo: int | None = getattr(network, 'halo', None)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales N x C x H x W in [0, 1]."""
        height, width = x.shape[2:]
        x = padded(x, self.size_multiple)
        y = self.network(x * self.img_range if self.img_range != 1 else x)
        y = y / self.img_range if self.img_range != 1 else y
        return y[:, :, :y.shape[2] * height // x.shape[2], :y.shape[3] * width // x.shape[3]]

    @property
    def graph_min_size(self) -> int:
        """The smallest height and width that an exported graph takes."""
        return max(self.min_size, self.size_multiple // 2 + 1)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The inner network's."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Loads into the inner network."""
        return self.network.load_state_dict(*args, **kwargs)


def padded(x: Tensor, multiple: int) -> Tensor:
    """An image, N x C x H x W, with rows and columns added by reflection, so that H and W are multiples of a number.

    A graph that is traced or exported pads by one reflection: its images must be larger than half of `multiple`.
    """
    if multiple == 1:
        return x
    bottom, right = (-size % multiple for size in x.shape[2:])
    if torch.jit.is_tracing() or torch.compiler.is_exporting():  # whether there is anything to add must stay open
        return F.pad(x, (0, right, 0, bottom), mode='reflect')
    return reflected(x, bottom, right) if bottom or right else x


def reflected(x: Tensor, bottom: int, right: int) -> Tensor:
    """An image, N x C x H x W, with rows and columns added by reflection, however small it is."""
    height, width = x.shape[2] + bottom, x.shape[3] + right
    while x.shape[2] < height or x.shape[3] < width:  # one reflection adds fewer rows than there are
        more = [min(wanted - size, max(size - 1, 1)) for wanted, size in ((width, x.shape[3]), (height, x.shape[2]))]
        mode = 'reflect' if min(x.shape[2:]) > 1 else 'replicate'
        x = F.pad(x, (0, more[0], 0, more[1]), mode=mode)
    return x


def adapted(network: nn.Module, img_range: float = 1.0, size_multiple: int | None = None) -> nn.Module:
    """A network, with an `AdaptedNetwork` around it where it needs one.

    Args:
        network: The network.
        img_range: As for `AdaptedNetwork`.
        size_multiple: As for `AdaptedNetwork`; None for what the network says of itself, by an attribute `size_multiple` or
            `window_size`, or else 1.
    """
    if size_multiple is None:
        own = getattr(network, 'size_multiple', getattr(network, 'window_size', 1))
        size_multiple = own if isinstance(own, int) and own > 0 else 1
    if isinstance(network, AdaptedNetwork) or (img_range == 1 and size_multiple == 1):
        return network
    return AdaptedNetwork(network, img_range, size_multiple)


def bare(network: nn.Module) -> nn.Module:
    """The network inside an `AdaptedNetwork`, or the network itself."""
    return network.network if isinstance(network, AdaptedNetwork) else network

