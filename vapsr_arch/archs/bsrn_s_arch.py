"""BSRN-S: the small BSRN, first in model complexity at the NTIRE 2022 challenge on efficient super-resolution.

Paper: Zheyuan Li, Yingqi Liu, Xiangyu Chen, Haoming Cai, Jinjin Gu, Yu Qiao, Chao Dong, "Blueprint Separable Residual
Network for Efficient Image Super-Resolution", CVPR Workshops 2022, arXiv 2205.05996.
The authors' repository: https://github.com/xiaom233/BSRN, where the class is RFDNFINALB5. Module names are those of their
checkpoint.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.blocks import ESA, BSConvU, ChannelLinear, FeatureDistillation
from vapsr_arch.archs.bsrn_arch import COPIES, UpsampleOneStep
from vapsr_arch.archs.checks import check_input, check_positive_integers
from vapsr_arch.archs.state_dicts import count_blocks, has_weights, tail_scale


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


class BSRN_S(nn.Module):
    """BSRN-S, for any integer scale. The defaults are the authors', and so are the names of the arguments.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_feat: Channels of the features, 4 and more.
        num_block: Number of distillation blocks.
        num_out_ch: Channels of the output, 3 for RGB.
        upscale: Enlargement, 1 or more.
        conv: Kind of the 3x3 convolutions; `BSConvU` is the only one.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Enlargement.

    Raises:
        ValueError: An argument is not a positive integer, num_feat is below 4, or conv is not `BSConvU`.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 48, num_block: int = 5, num_out_ch: int = 3, upscale: int = 4,
                 conv: str = 'BSConvU') -> None:
        super().__init__()
        check_positive_integers('BSRN-S', num_in_ch=num_in_ch, num_feat=num_feat, num_block=num_block,
                                num_out_ch=num_out_ch, upscale=upscale)
        if num_feat < 4:
            raise ValueError(f'BSRN-S: num_feat must be 4 at least, not {num_feat}')
        if conv != 'BSConvU':
            raise ValueError(f'BSRN-S: conv must be BSConvU, not {conv!r}')
        self.num_in_ch = num_in_ch
        self.scale = upscale
        self.num_block = num_block

        self.fea_conv = linear_bsconvu(COPIES * num_in_ch, num_feat)
        for i in range(1, num_block + 1):
            self.add_module(f'B{i}', SmallESDB(num_feat))
        self.c1 = ChannelLinear(num_block * num_feat, num_feat)
        self.c2 = linear_bsconvu(num_feat, num_feat)
        self.upsampler = UpsampleOneStep(num_feat, num_out_ch, upscale)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges a batch of images.

        Args:
            x: N x num_in_ch x H x W, values in [0, 1], RGB; any memory format. H and W of 15 and more.

        Returns:
            N x num_out_ch x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is smaller than 15x15.
        """
        check_input('BSRN-S', x, self.num_in_ch, ESA.MIN_SIZE)
        x = x.contiguous(memory_format=torch.channels_last)
        feat = y = self.fea_conv(torch.cat([x] * COPIES, dim=1))
        outputs = []
        for i in range(1, self.num_block + 1):
            y = self.get_submodule(f'B{i}')(y)
            outputs.append(y)
        return self.upsampler(self.c2(F.gelu(self.c1(torch.cat(outputs, dim=1)))) + feat)

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name, of a network with as many output as input channels.

        Returns:
            The keyword arguments of the constructor, or None when this is not a BSRN-S.
        """
        if not has_weights(state_dict, {'fea_conv.pw.weight': 2, 'B1.c1_r.pw.weight': 2, 'B1.esa.conv2.weight': 4,
                                        'B1.cw': 2, 'c1.weight': 2, 'c2.pw.weight': 2,
                                        'upsampler.upsampleOneStep.0.weight': 4}):
            return None
        num_feat, copied_ch = state_dict['fea_conv.pw.weight'].shape
        num_in_ch = copied_ch // COPIES
        scale = tail_scale(state_dict['upsampler.upsampleOneStep.0.weight'].shape[0], num_in_ch)
        if scale is None:
            return None
        return dict(num_in_ch=num_in_ch, num_feat=num_feat, num_block=count_blocks(state_dict, 'B{}.c5.weight'),
                    num_out_ch=num_in_ch, upscale=scale)
