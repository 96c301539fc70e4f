"""VapSR: vast-receptive-field pixel attention for efficient image super-resolution.

Paper: Lin Zhou, Haoming Cai, Jinjin Gu, Zheyuan Li, Yingqi Liu, Xiangyu Chen, Yu Qiao, Chao Dong, "Efficient Image
Super-Resolution Using Vast-Receptive-Field Attention", ECCV Workshops 2022, arXiv 2210.05960.
The authors' repository: https://github.com/zhoumumu/VapSR. Module names are those of their checkpoints.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.depthwise import DepthwiseConv2d
from vapsr_arch.archs.common.pointwise import PointwiseConv2d
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights


class Attention(nn.Module):
    """Large-kernel pixel attention: the features scaled by a 17x17 depthwise view of themselves, without a sigmoid.

    Args:
        dim: Channels of the input and the output.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pointwise = PointwiseConv2d(dim, dim)
        self.depthwise = DepthwiseConv2d(dim, 5)
        self.depthwise_dilated = DepthwiseConv2d(dim, 5, dilation=3)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.depthwise_dilated(self.depthwise(self.pointwise(x)))


class VAB(nn.Module):
    """Vast-receptive-field attention block: 1x1, GELU, attention, 1x1, residual, pixel normalisation.

    Args:
        d_model: Channels of the input and the output.
        d_atten: Channels of the attention between the two 1x1 convolutions.
    """

    def __init__(self, d_model: int, d_atten: int) -> None:
        super().__init__()
        self.proj_1 = PointwiseConv2d(d_model, d_atten)
        self.atten_branch = Attention(d_atten)
        self.proj_2 = PointwiseConv2d(d_atten, d_model)
        self.pixel_norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj_2(self.atten_branch(F.gelu(self.proj_1(x))))
        # A LayerNorm over the last dimension of the N x H x W x C view: in channels_last both permutations are free.
        return self.pixel_norm((x + y).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VapSR(nn.Module):
    """VapSR, for any integer scale; x4 has the EDSR-style tail (two PixelShuffle(2)), the others a single PixelShuffle.

    The defaults are the paper's; the published models are (scale 2 and 3) num_feat 48, num_block 20; (scale 4) num_feat
    48, num_block 21; (VapSR-S, scale 4) num_feat 32, num_block 11, conv_groups 2.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_out_ch: Channels of the output, 3 for RGB.
        scale: Upscaling factor, 1 or more.
        num_feat: Channels of the features between blocks.
        num_block: Number of attention blocks.
        d_atten: Channels of the attention in each block.
        conv_groups: Groups of the 3x3 convolution after the blocks; divides num_feat.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: Pixels of the input around a tile that its output depends on.

    Raises:
        ValueError: An argument is not a positive integer, or conv_groups does not divide num_feat.
    """

    def __init__(self,
                 num_in_ch: int = 3,
                 num_out_ch: int = 3,
                 scale: int = 4,
                 num_feat: int = 64,
                 num_block: int = 23,
                 d_atten: int = 64,
                 conv_groups: int = 1) -> None:
        super().__init__()
        check_positive_integers('VapSR', num_in_ch=num_in_ch, num_out_ch=num_out_ch, scale=scale, num_feat=num_feat,
                                num_block=num_block, d_atten=d_atten, conv_groups=conv_groups)
        if num_feat % conv_groups:
            raise ValueError(f'VapSR: num_feat {num_feat} is not divisible by conv_groups {conv_groups}')
        self.num_in_ch = num_in_ch
        self.scale = scale
        self.min_size = 1
        self.halo = 8 * num_block + 4  # 2 + 6 a block, the rest of 3x3 convolutions

        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(VAB(num_feat, d_atten) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=conv_groups)
        if scale == 4:
            self.upsampler = nn.Sequential(
                nn.Conv2d(num_feat, 64, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1),
                nn.Conv2d(16, 4 * num_out_ch, 3, padding=1), nn.PixelShuffle(2))
        else:
            self.upsampler = nn.Sequential(
                nn.Conv2d(num_feat, 56, 3, padding=1), nn.LeakyReLU(0.1),
                nn.Conv2d(56, num_out_ch * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x num_in_ch x H x W, values in [0, 1], RGB; any memory format. H and W of 1 and more.

        Returns:
            N x num_out_ch x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is empty.
        """
        check_input('VapSR', x, self.num_in_ch)
        feat = self.conv_first(x.contiguous(memory_format=torch.channels_last))
        feat = self.conv_body(self.body(feat)) + feat  # the first features are free from here on
        return self.upsampler(feat)

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name. A plain tail does not distinguish its scale from its number of output
                channels: as many as input channels are assumed.

        Returns:
            The keyword arguments of the constructor, or None when this is not a VapSR.
        """
        tail = state_dict.get('upsampler.3.weight', state_dict.get('upsampler.2.weight'))
        if tail is None or tail.ndim != 4 or not has_weights(state_dict, {
                'conv_first.weight': 4, 'conv_body.weight': 4, 'body.0.proj_1.weight': 4, 'body.0.pixel_norm.weight': 1,
                'body.0.atten_branch.depthwise_dilated.weight': 4, 'upsampler.0.weight': 4}):
            return None
        num_feat, num_in_ch = state_dict['conv_first.weight'].shape[:2]
        if 'upsampler.3.weight' in state_dict:
            scale, num_out_ch = 4, tail.shape[0] // 4
        else:
            scale = math.isqrt(tail.shape[0] // num_in_ch)
            num_out_ch = tail.shape[0] // scale**2 if scale else 0
        return dict(
            num_in_ch=num_in_ch, num_out_ch=num_out_ch, scale=scale, num_feat=num_feat,
            num_block=count_blocks(state_dict, 'body.{}.proj_1.weight', first=0),
            d_atten=state_dict['body.0.proj_1.weight'].shape[0],
            conv_groups=num_feat // state_dict['conv_body.weight'].shape[1])
