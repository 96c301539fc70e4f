"""RFDN: residual feature distillation network.

Paper: Jie Liu, Jie Tang, Gangshan Wu, "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
ECCV Workshops 2020, arXiv 2009.11551. The defaults are the model that won the AIM 2020 challenge on efficient
super-resolution, the only one whose weights were released.
The authors' repository: https://github.com/njulj/RFDN. Module names are those of their checkpoint.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.blocks import ESA, FeatureDistillation, conv1x1, conv3x3
from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights, tail_scale

SLOPE = 0.05  # of every LeakyReLU
RANGE = 255  # the authors' weights are for images in [0, 255]


class RFDB(FeatureDistillation):
    """Residual feature distillation block: feature distillation, then spatial attention; no skip around them.

    Args:
        num_feat: Channels of the input and the output.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(num_feat, conv1x1, conv3x3, functools.partial(F.leaky_relu, negative_slope=SLOPE, inplace=True))
        self.esa = ESA(num_feat, conv1x1, conv3x3, conv2=nn.Conv2d(num_feat // 4, num_feat // 4, 3, stride=2),
                       act=functools.partial(F.relu, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.esa(super().forward(x))


class RFDN(nn.Module):
    """RFDN, for any integer scale; the authors' weights are for x4.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_out_ch: Channels of the output, 3 for RGB.
        scale: Upscaling factor, 1 or more.
        num_feat: Channels of the features, 4 and more.
        num_block: Number of distillation blocks.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: None: an output pixel depends on the whole image.

    Raises:
        ValueError: An argument is not a positive integer, or num_feat is below 4.
    """

    def __init__(self, num_in_ch: int = 3, num_out_ch: int = 3, scale: int = 4, num_feat: int = 50,
                 num_block: int = 4) -> None:
        super().__init__()
        check_positive_integers('RFDN', num_in_ch=num_in_ch, num_out_ch=num_out_ch, scale=scale, num_feat=num_feat,
                                num_block=num_block)
        if num_feat < 4:
            raise ValueError(f'RFDN: num_feat must be 4 at least, not {num_feat}')
        self.num_in_ch = num_in_ch
        self.scale = scale
        self.min_size = ESA.MIN_SIZE
        self.halo = None  # ESA: its view is stretched by a factor that depends on the size of the image
        self.num_block = num_block

        self.fea_conv = conv3x3(num_in_ch, num_feat)
        for i in range(1, num_block + 1):
            self.add_module(f'B{i}', RFDB(num_feat))
        self.c = nn.Sequential(conv1x1(num_block * num_feat, num_feat), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(num_feat, num_feat)
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x num_in_ch x H x W, values in [0, 1], RGB; any memory format. H and W of 15 and more.

        Returns:
            N x num_out_ch x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is smaller than 15x15.
        """
        check_input('RFDN', x, self.num_in_ch, ESA.MIN_SIZE)
        feat = y = self.fea_conv(x.contiguous(memory_format=torch.channels_last) * RANGE)
        outputs = []
        for i in range(1, self.num_block + 1):
            y = self.get_submodule(f'B{i}')(y)
            outputs.append(y)
        return self.upsampler(self.LR_conv(self.c(torch.cat(outputs, dim=1))) + feat) / RANGE

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name, of a network with as many output as input channels.

        Returns:
            The keyword arguments of the constructor, or None when this is not an RFDN.
        """
        if not has_weights(state_dict, {'fea_conv.weight': 4, 'B1.c1_d.weight': 4, 'B1.c1_r.weight': 4,
                                        'B1.esa.conv2.weight': 4, 'c.0.weight': 4, 'LR_conv.weight': 4,
                                        'upsampler.0.weight': 4}):
            return None
        num_feat, num_in_ch = state_dict['fea_conv.weight'].shape[:2]
        scale = tail_scale(state_dict['upsampler.0.weight'].shape[0], num_in_ch)
        if scale is None:
            return None
        return dict(num_in_ch=num_in_ch, num_out_ch=num_in_ch, scale=scale, num_feat=num_feat,
                    num_block=count_blocks(state_dict, 'B{}.c5.weight'))
