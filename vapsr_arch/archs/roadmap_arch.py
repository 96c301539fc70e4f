"""The road from pixel attention to VapSR: the five networks of the paper's section 3, each one change after the other.

Paper: Lin Zhou, Haoming Cai, Jinjin Gu, Zheyuan Li, Yingqi Liu, Xiangyu Chen, Yu Qiao, Chao Dong, "Efficient Image
Super-Resolution Using Vast-Receptive-Field Attention", ECCV Workshops 2022, arXiv 2210.05960. The authors released neither
code nor weights of these: the module names are this project's. The numbers of parameters are the paper's. What it leaves
open is as in VapSR: GELU between the convolutions, attention without a sigmoid, a skip around every block.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.blocks import conv1x1, conv3x3
from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.depthwise import DepthwiseConv2d
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights, tail_scale

STEPS = ('i', 'ii', 'iii', 'iv', 'v')


class DenseAttention(nn.Module):
    """Pixel attention with one convolution over all channels.

    Args:
        dim: Channels of the input and the output, N x dim x H x W.
        kernel_size: Odd height and width of the convolution's kernel.
    """

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x)


class SeparableAttention(nn.Module):
    """Pixel attention with a 23x23 view in three parts: 1x1, 5x5 depthwise, 7x7 depthwise dilated by 3.

    Args:
        dim: Channels of the input and the output, N x dim x H x W.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pointwise = conv1x1(dim, dim)
        self.depthwise = DepthwiseConv2d(dim, 5)
        self.depthwise_dilated = DepthwiseConv2d(dim, 7, dilation=3)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.depthwise_dilated(self.depthwise(self.pointwise(x)))


class AttentionLastBlock(nn.Module):
    """The block of steps i to iv: two convolutions, then attention, residual and, in iv, pixel normalisation.

    Args:
        num_feat: Channels of the input and the output, N x num_feat x H x W.
        step: The step, `i` to `iv`.
    """

    def __init__(self, num_feat: int, step: str) -> None:
        super().__init__()
        conv = conv3x3 if step in ('i', 'ii') else conv1x1
        self.conv_1 = conv(num_feat, num_feat)
        self.conv_2 = conv(num_feat, num_feat)
        if step in ('i', 'ii'):
            self.attention = DenseAttention(num_feat, kernel_size=1 if step == 'i' else 9)
        else:
            self.attention = SeparableAttention(num_feat)
        self.pixel_norm = nn.LayerNorm(num_feat) if step == 'iv' else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.conv_2(F.gelu(self.conv_1(x)))) + x
        if self.pixel_norm is None:
            return y
        return self.pixel_norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class AttentionBetweenBlock(nn.Module):
    """The block of step v, which is VapSR's: attention between two 1x1 convolutions, residual, pixel normalisation.

    Args:
        num_feat: Channels of the input and the output, N x num_feat x H x W.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.proj_1 = conv1x1(num_feat, num_feat)
        self.atten_branch = SeparableAttention(num_feat)
        self.proj_2 = conv1x1(num_feat, num_feat)
        self.pixel_norm = nn.LayerNorm(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj_2(self.atten_branch(F.gelu(self.proj_1(x)))) + x
        return self.pixel_norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PixelAttentionRoadmap(nn.Module):
    """A network of the paper's roadmap, for any integer scale. The defaults are the paper's.

    Args:
        step: `i` plain pixel attention between 3x3 convolutions; `ii` its convolution becomes 9x9; `iii` 1x1 convolutions
            and separable attention; `iv` adds pixel normalisation; `v` moves the attention to the middle.
        num_in_ch: Channels of the input, 3 for RGB.
        num_out_ch: Channels of the output, 3 for RGB.
        scale: Upscaling factor, 1 or more.
        num_feat: Channels of the features.
        num_block: Number of blocks.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: Pixels of the input around a tile that its output depends on.

    Raises:
        ValueError: step is none of these, or another argument is not a positive integer.
    """

    def __init__(self, step: str = 'v', num_in_ch: int = 3, num_out_ch: int = 3, scale: int = 4, num_feat: int = 64,
                 num_block: int = 10) -> None:
        super().__init__()
        if step not in STEPS:
            raise ValueError(f'PixelAttentionRoadmap: step must be one of {", ".join(STEPS)}, not {step!r}')
        check_positive_integers('PixelAttentionRoadmap', num_in_ch=num_in_ch, num_out_ch=num_out_ch, scale=scale,
                                num_feat=num_feat, num_block=num_block)
        self.num_in_ch = num_in_ch
        self.scale = scale
        self.min_size = 1
        self.halo = {'i': 2, 'ii': 6}.get(step, 11) * num_block + 3

        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.body = nn.Sequential(*(AttentionBetweenBlock(num_feat) if step == 'v' else AttentionLastBlock(num_feat, step)
                                    for _ in range(num_block)))
        self.conv_body = conv3x3(num_feat, num_feat)
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x num_in_ch x H x W, values in [0, 1], RGB; any memory format. H and W of 1 and more.

        Returns:
            N x num_out_ch x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is empty.
        """
        check_input('PixelAttentionRoadmap', x, self.num_in_ch)
        feat = self.conv_first(x.contiguous(memory_format=torch.channels_last))
        return self.upsampler(self.conv_body(self.body(feat)) + feat)

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name, of a network with as many output as input channels.

        Returns:
            The keyword arguments of the constructor, or None when this is none of the roadmap.
        """
        dense, separable = 'body.0.attention.conv.weight', 'body.0.attention.depthwise_dilated.weight'
        if not has_weights(state_dict, {'conv_first.weight': 4, 'conv_body.weight': 4, 'upsampler.0.weight': 4}):
            return None
        if has_weights(state_dict, {dense: 4, 'body.0.conv_1.weight': 4}):
            step = 'i' if state_dict[dense].shape[-1] == 1 else 'ii'
        elif has_weights(state_dict, {separable: 4, 'body.0.conv_1.weight': 4}):
            step = 'iv' if 'body.0.pixel_norm.weight' in state_dict else 'iii'
        elif has_weights(state_dict, {'body.0.atten_branch.depthwise_dilated.weight': 4, 'body.0.proj_1.weight': 4}):
            step = 'v'
        else:
            return None
        num_feat, num_in_ch = state_dict['conv_first.weight'].shape[:2]
        scale = tail_scale(state_dict['upsampler.0.weight'].shape[0], num_in_ch)
        if scale is None or 'upsampler.2.weight' in state_dict or 'upsampler.3.weight' in state_dict:  # VapSR's tails
            return None
        name = f'body.{{}}.{"proj_1" if step == "v" else "conv_1"}.weight'
        return dict(step=step, num_in_ch=num_in_ch, num_out_ch=num_in_ch, scale=scale, num_feat=num_feat,
                    num_block=count_blocks(state_dict, name, first=0))
