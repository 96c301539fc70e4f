"""PAN: pixel attention network.

Paper: Hengyuan Zhao, Xiangtao Kong, Jingwen He, Yu Qiao, Chao Dong, "Efficient Image Super-Resolution Using Pixel
Attention", ECCV Workshops 2020, arXiv 2010.01073.
The authors' repository: https://github.com/zhaohengyuan1/PAN. Module names are those of their checkpoints.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.blocks import conv1x1, conv3x3
from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class PA(nn.Module):
    """Pixel attention: the features scaled by a mask of their own shape, N x nf x H x W.

    Args:
        nf: Channels of the input and the output.
    """

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = conv1x1(nf, nf)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class PAConv(nn.Module):
    """A 3x3 convolution scaled by pixel attention, then another 3x3 convolution.

    Args:
        nf: Channels of the input and the output.
    """

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.k2 = conv1x1(nf, nf)
        self.k3 = conv3x3(nf, nf, bias=False)
        self.k4 = conv3x3(nf, nf, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.k4(self.k3(x) * torch.sigmoid(self.k2(x)))


class SCPA(nn.Module):
    """Self-calibrated block with pixel attention: two branches of half the channels, one with attention; residual.

    Args:
        nf: Channels of the input and the output; even.
    """

    def __init__(self, nf: int) -> None:
        super().__init__()
        half = nf // 2
        self.conv1_a = conv1x1(nf, half, bias=False)
        self.conv1_b = conv1x1(nf, half, bias=False)
        self.k1 = nn.Sequential(conv3x3(half, half, bias=False))
        self.PAConv = PAConv(half)
        self.conv3 = conv1x1(nf, nf, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = lrelu(self.k1(lrelu(self.conv1_a(x))))
        b = lrelu(self.PAConv(lrelu(self.conv1_b(x))))
        return self.conv3(torch.cat((a, b), dim=1)) + x


class PAN(nn.Module):
    """PAN, for any integer scale: x4 upscales in two steps of 2, the others in one. The authors' argument names.

    Args:
        in_nc: Channels of the input, 3 for RGB.
        out_nc: Channels of the output: as many as in_nc, or any number where in_nc is 1.
        nf: Channels of the blocks; even.
        unf: Channels after upsampling.
        nb: Number of blocks.
        scale: Upscaling factor, 1 or more.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: Pixels of the input around a tile that its output depends on.

    Raises:
        ValueError: An argument is not a positive integer, nf is odd, or the input, which is upscaled bilinearly and added
            to the output, has another number of channels than that.
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nf: int = 40, unf: int = 24, nb: int = 16, scale: int = 4) -> None:
        super().__init__()
        check_positive_integers('PAN', in_nc=in_nc, out_nc=out_nc, nf=nf, unf=unf, nb=nb, scale=scale)
        if nf % 2:
            raise ValueError(f'PAN: nf must be even, not {nf}')
        if in_nc not in (1, out_nc):
            raise ValueError(f'PAN: the upscaled input is added to the output: in_nc {in_nc} must be 1 or out_nc {out_nc}')
        self.num_in_ch = in_nc
        self.scale = scale
        self.min_size = 1
        self.steps = (2, 2) if scale == 4 else (scale,)
        self.halo = 2 * nb + 2 + (2 if scale == 4 else math.ceil(3 / scale))  # the last: convolutions of the upscaled image

        self.conv_first = conv3x3(in_nc, nf)
        self.SCPA_trunk = nn.Sequential(*(SCPA(nf) for _ in range(nb)))
        self.trunk_conv = conv3x3(nf, nf)
        for i in range(1, len(self.steps) + 1):
            self.add_module(f'upconv{i}', conv3x3(nf if i == 1 else unf, unf))
            self.add_module(f'att{i}', PA(unf))
            self.add_module(f'HRconv{i}', conv3x3(unf, unf))
        self.conv_last = conv3x3(unf, out_nc)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x in_nc x H x W, values in [0, 1], RGB; any memory format. H and W of 1 and more.

        Returns:
            N x out_nc x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is empty.
        """
        check_input('PAN', x, self.num_in_ch)
        x = x.contiguous(memory_format=torch.channels_last)
        y = self.conv_first(x)
        y = self.trunk_conv(self.SCPA_trunk(y)) + y
        for i, step in enumerate(self.steps, start=1):
            y = self.get_submodule(f'upconv{i}')(F.interpolate(y, scale_factor=step, mode='nearest'))
            y = lrelu(self.get_submodule(f'att{i}')(y))
            y = lrelu(self.get_submodule(f'HRconv{i}')(y))
        return self.conv_last(y) + F.interpolate(x, scale_factor=self.scale, mode='bilinear', align_corners=False)

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name. Its shapes distinguish x4 from the other scales, but not those from one
                another: x2 is assumed.

        Returns:
            The keyword arguments of the constructor, or None when this is not a PAN.
        """
        if not has_weights(state_dict, {'conv_first.weight': 4, 'SCPA_trunk.0.PAConv.k2.weight': 4, 'trunk_conv.weight': 4,
                                        'upconv1.weight': 4, 'att1.conv.weight': 4, 'conv_last.weight': 4}):
            return None
        nf, in_nc = state_dict['conv_first.weight'].shape[:2]
        out_nc, unf = state_dict['conv_last.weight'].shape[:2]
        return dict(in_nc=in_nc, out_nc=out_nc, nf=nf, unf=unf, scale=4 if 'upconv2.weight' in state_dict else 2,
                    nb=count_blocks(state_dict, 'SCPA_trunk.{}.conv3.weight', first=0))
