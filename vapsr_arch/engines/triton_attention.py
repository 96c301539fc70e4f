"""VapSR's attention for inference on GPUs: u * (dilated(depthwise(p) + b1) + b2), p = pointwise(u), in two Triton kernels.

torch reads or writes a tensor of features seven times for what follows the 1x1 convolution: two for each depthwise
convolution, three for the product. Here the second convolution ends with the product: five times.

One kernel would do with three, but has to repeat the first convolution for each of the five columns of the second, as
Triton cannot move a tensor by a pixel in registers: 5 * 25 + 25 = 150 multiply-adds a value instead of 50. In float16 that
spares 4 bytes a value, 1.2 ps of an H100's memory (3.35 TB/s) and 11 ps of an RTX 3060's (360 GB/s), and costs 100
multiply-adds, 3.0 ps (33.5 T/s) and 16 ps (6.4 T/s) at the least. So there are two.
"""

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vapsr_arch.archs.vapsr_arch import Attention

TYPES = (torch.float16, torch.bfloat16, torch.float32)


@functools.cache
def kernel() -> Callable[..., Tensor] | None:
    """The kernel, or None without triton, which a CPU build of torch does not bring; its import takes a part of a second."""
    try:
        from vapsr_arch.engines.triton_depthwise import depthwise5x5
    except ModuleNotFoundError:
        return None
    return depthwise5x5


class FusedAttention(Attention):
    """`Attention` with the weights of another, whose keys it keeps; fused on CUDA where no gradient is asked for.

    Args:
        attention: The attention whose modules it takes over. Their weights stay what they are, laid out otherwise.
    """

    def __init__(self, attention: Attention) -> None:
        nn.Module.__init__(self)
        self.pointwise = attention.pointwise
        self.depthwise = attention.depthwise
        self.depthwise_dilated = attention.depthwise_dilated
        for conv in (self.depthwise, self.depthwise_dilated):
            # The channels of a tap side by side, as the kernel reads them.
            conv.weight.data = conv.weight.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cuda or x.dtype not in TYPES or torch.is_grad_enabled() or kernel() is None:
            return super().forward(x)
        with torch.cuda.device(x.device):  # Triton starts its kernels on the current one
            return self.fused(x)

    def fused(self, x: Tensor) -> Tensor:
        """What `forward` gives, by the kernels."""
        x = x.contiguous(memory_format=torch.channels_last)
        y = self.pointwise(x).contiguous(memory_format=torch.channels_last)
        y = kernel()(y, self.depthwise.weight, self.depthwise.bias)
        return kernel()(y, self.depthwise_dilated.weight, self.depthwise_dilated.bias, dilation=3, gate=x)


def fuse_attention(network: nn.Module) -> nn.Module:
    """Copies a network for inference with every `Attention` fused; elsewhere than on CUDA with triton it works as before.

    Args:
        network: The network. Call its `.to(memory_format=...)` before, not after: that would change the layout of the
            weights, which costs speed.

    Returns:
        The copy, with the same keys in its state dict.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is Attention:
                setattr(module, name, FusedAttention(child))
    return network
