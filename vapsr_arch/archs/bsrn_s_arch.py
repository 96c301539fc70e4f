"""BSRN-S: the small BSRN, first in model complexity at the NTIRE 2022 challenge on efficient super-resolution.

Paper: Zheyuan Li, Yingqi Liu, Xiangyu Chen, Haoming Cai, Jinjin Gu, Yu Qiao, Chao Dong, "Blueprint Separable Residual
Network for Efficient Image Super-Resolution", CVPR Workshops 2022, arXiv 2205.05996.
The authors' repository: https://github.com/xiaom233/BSRN, where the class is RFDNFINALB5. Module names are those of their
checkpoint.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.bsrn_arch import BSRN
from vapsr_arch.archs.common.blocks import ESA, BSConvU, ChannelLinear, FeatureDistillation


def linear_bsconvu(in_channels: int, out_channels: int) -> BSConvU:
    return BSConvU(in_channels, out_channels, pw=ChannelLinear(in_channels, out_channels))


class SmallESDB(FeatureDistillation):
    """BSRN's block with a learned weight a channel, `cw`, and a linear layer in place of channel attention.

    Args:
        num_feat: Channels of the input and the output.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(num_feat, ChannelLinear, linear_bsconvu, F.gelu)
        self.esa = ESA(num_feat, ChannelLinear, linear_bsconvu, act=F.gelu,
                       conv2=nn.Conv2d(num_feat // 4, num_feat // 4, 3, stride=2))
        self.cw = nn.Parameter(torch.ones(1, num_feat))
        self.conv_out = ChannelLinear(num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.esa(super().forward(x)) * self.cw[:, :, None, None]) + x


class BSRN_S(BSRN):
    """BSRN-S, for any integer scale: BSRN with linear layers for its 1x1 convolutions, and smaller blocks.

    Input, output and errors are BSRN's. The defaults are the authors', and so are the names of the arguments.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_feat: Channels of the features, 4 and more.
        num_block: Number of distillation blocks.
        num_out_ch: Channels of the output, 3 for RGB.
        upscale: Upscaling factor, 1 or more.
        conv: Kind of the 3x3 convolutions; `BSConvU` is the only one.

    Raises:
        ValueError: An argument is not a positive integer, num_feat is below 4, or conv is not `BSConvU`.
    """

    NAME = 'BSRN-S'
    MIN_FEAT = 4
    BLOCK = SmallESDB
    POINTWISE = ChannelLinear
    CONV = staticmethod(linear_bsconvu)
    DIMENSIONS: ClassVar[Mapping[str, int]] = {
        'fea_conv.pw.weight': 2, 'B1.c1_r.pw.weight': 2, 'B1.esa.conv2.weight': 4, 'B1.cw': 2, 'c1.weight': 2,
        'c2.pw.weight': 2, 'upsampler.upsampleOneStep.0.weight': 4}

    def __init__(self, num_in_ch: int = 3, num_feat: int = 48, num_block: int = 5, num_out_ch: int = 3, upscale: int = 4,
                 conv: str = 'BSConvU') -> None:
        super().__init__(num_in_ch, num_feat, num_block, num_out_ch, upscale, conv)
