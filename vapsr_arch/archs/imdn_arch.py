"""IMDN: information multi-distillation network.

Paper: Zheng Hui, Xinbo Gao, Yunchu Yang, Xiumei Wang, "Lightweight Image Super-Resolution with Information
Multi-distillation Network", ACM Multimedia 2019, arXiv 1909.11856.
The authors' repository: https://github.com/Zheng222/IMDN. Module names are those of their checkpoints.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.blocks import CCA, conv1x1, conv3x3
from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights, tail_scale

SLOPE = 0.05  # of every LeakyReLU


class IMDB(nn.Module):
    """Information multi-distillation block: each convolution's first quarter is kept, the rest is processed further.

    Args:
        num_feat: Channels of the input and the output.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        kept = num_feat // 4
        self.split = (kept, num_feat - kept)
        self.c1 = conv3x3(num_feat, num_feat)
        self.c2 = conv3x3(num_feat - kept, num_feat)
        self.c3 = conv3x3(num_feat - kept, num_feat)
        self.c4 = conv3x3(num_feat - kept, kept)
        self.cca = CCA(4 * kept)
        self.c5 = conv1x1(4 * kept, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        rest = x
        for conv in (self.c1, self.c2, self.c3):
            first, rest = F.leaky_relu(conv(rest), SLOPE, inplace=True).split(self.split, dim=1)
            kept.append(first)
        kept.append(self.c4(rest))
        return self.c5(self.cca(torch.cat(kept, dim=1))) + x


class IMDN(nn.Module):
    """IMDN, for any integer scale. The defaults are the paper's.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_out_ch: Channels of the output, 3 for RGB.
        scale: Upscaling factor, 1 or more.
        num_feat: Channels of the features, 16 and more.
        num_block: Number of distillation blocks.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: None: an output pixel depends on the whole image.

    Raises:
        ValueError: An argument is not a positive integer, or num_feat is below 16.
    """

    def __init__(self, num_in_ch: int = 3, num_out_ch: int = 3, scale: int = 4, num_feat: int = 64,
                 num_block: int = 6) -> None:
        super().__init__()
        check_positive_integers('IMDN', num_in_ch=num_in_ch, num_out_ch=num_out_ch, scale=scale, num_feat=num_feat,
                                num_block=num_block)
        if num_feat < 16:
            raise ValueError(f'IMDN: num_feat must be 16 at least, not {num_feat}')
        self.num_in_ch = num_in_ch
        self.scale = scale
        self.min_size = 1
        self.halo = None  # CCA: statistics of the whole image
        self.num_block = num_block

        self.fea_conv = conv3x3(num_in_ch, num_feat)
        for i in range(1, num_block + 1):
            self.add_module(f'IMDB{i}', IMDB(num_feat))
        self.c = nn.Sequential(conv1x1(num_block * num_feat, num_feat), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(num_feat, num_feat)
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
        check_input('IMDN', x, self.num_in_ch)
        feat = y = self.fea_conv(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for i in range(1, self.num_block + 1):
            y = self.get_submodule(f'IMDB{i}')(y)
            outputs.append(y)
        return self.upsampler(self.LR_conv(self.c(torch.cat(outputs, dim=1))) + feat)

    @classmethod
    def infer(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Reads the constructor's arguments off a state dict.

        Args:
            state_dict: A checkpoint's tensors by name, of a network with as many output as input channels.

        Returns:
            The keyword arguments of the constructor, or None when this is not an IMDN.
        """
        if not has_weights(state_dict, {'fea_conv.weight': 4, 'IMDB1.c1.weight': 4, 'IMDB1.cca.conv_du.0.weight': 4,
                                        'c.0.weight': 4, 'LR_conv.weight': 4, 'upsampler.0.weight': 4}):
            return None
        num_feat, num_in_ch = state_dict['fea_conv.weight'].shape[:2]
        scale = tail_scale(state_dict['upsampler.0.weight'].shape[0], num_in_ch)
        if scale is None:
            return None
        return dict(num_in_ch=num_in_ch, num_out_ch=num_in_ch, scale=scale, num_feat=num_feat,
                    num_block=count_blocks(state_dict, 'IMDB{}.c1.weight'))
