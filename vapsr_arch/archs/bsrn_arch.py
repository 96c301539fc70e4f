"""BSRN: blueprint separable residual network.

Paper: Zheyuan Li, Yingqi Liu, Xiangyu Chen, Haoming Cai, Jinjin Gu, Yu Qiao, Chao Dong, "Blueprint Separable Residual
Network for Efficient Image Super-Resolution", CVPR Workshops 2022, arXiv 2205.05996.
The authors' repository: https://github.com/xiaom233/BSRN. Module names are those of their checkpoints.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.blocks import CCA, ESA, BSConvU, FeatureDistillation, Layer, conv1x1, conv3x3
from vapsr_arch.archs.common.checks import check_input, check_positive_integers
from vapsr_arch.archs.common.state_dicts import count_blocks, has_weights, tail_scale

COPIES = 4  # of the input, which the first convolution takes side by side


class ESDB(FeatureDistillation):
    """Efficient separable distillation block: feature distillation, spatial and channel attention, residual.

    Args:
        num_feat: Channels of the input and the output.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(num_feat, conv1x1, BSConvU, F.gelu)
        inner = num_feat // 4
        self.esa = ESA(num_feat, conv1x1, BSConvU, conv2=BSConvU(inner, inner, downsample=True), act=F.gelu)
        self.cca = CCA(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return self.cca(self.esa(super().forward(x))) + x


class UpsampleOneStep(nn.Module):
    """A 3x3 convolution and one PixelShuffle.

    Args:
        num_feat: Channels of the input, N x num_feat x H x W.
        num_out_ch: Channels of the output, N x num_out_ch x (scale H) x (scale W).
        scale: Upscaling factor.
    """

    def __init__(self, num_feat: int, num_out_ch: int, scale: int) -> None:
        super().__init__()
        self.upsampleOneStep = nn.Sequential(conv3x3(num_feat, num_out_ch * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.upsampleOneStep(x)


class BSRN(nn.Module):
    """BSRN, for any integer scale. The defaults are the paper's; the names of the arguments are the authors'.

    Args:
        num_in_ch: Channels of the input, 3 for RGB.
        num_feat: Channels of the features, 16 and more.
        num_block: Number of distillation blocks.
        num_out_ch: Channels of the output, 3 for RGB.
        upscale: Upscaling factor, 1 or more.
        conv: Kind of the 3x3 convolutions; `BSConvU` is the only one.

    Attributes:
        num_in_ch: Channels of the input.
        scale: Upscaling factor.
        min_size: The smallest height and width of an input.
        halo: None: an output pixel depends on the whole image.

    Raises:
        ValueError: An argument is not a positive integer, num_feat is below 16, or conv is not `BSConvU`.
    """

    # What BSRN-S has otherwise.
    NAME = 'BSRN'
    MIN_FEAT = 16
    BLOCK: type[nn.Module] = ESDB
    POINTWISE: Layer = staticmethod(conv1x1)
    CONV: Layer = staticmethod(BSConvU)
    DIMENSIONS: ClassVar[Mapping[str, int]] = {  # of weights that identify the network
        'fea_conv.pw.weight': 4, 'B1.c1_r.pw.weight': 4, 'B1.esa.conv2.pw.weight': 4, 'B1.cca.conv_du.0.weight': 4,
        'c1.weight': 4, 'c2.pw.weight': 4, 'upsampler.upsampleOneStep.0.weight': 4}

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 8, num_out_ch: int = 3, upscale: int = 4,
                 conv: str = 'BSConvU') -> None:
        super().__init__()
        check_positive_integers(self.NAME, num_in_ch=num_in_ch, num_feat=num_feat, num_block=num_block,
                                num_out_ch=num_out_ch, upscale=upscale)
        if num_feat < self.MIN_FEAT:
            raise ValueError(f'{self.NAME}: num_feat must be {self.MIN_FEAT} at least, not {num_feat}')
        if conv != 'BSConvU':
            raise ValueError(f'{self.NAME}: conv must be BSConvU, not {conv!r}')
        self.num_in_ch = num_in_ch
        self.scale = upscale
        self.min_size = ESA.MIN_SIZE
        self.halo = None  # CCA: statistics of the whole image; ESA: a view stretched by a factor that depends on its size
        self.num_block = num_block

        self.fea_conv = self.CONV(COPIES * num_in_ch, num_feat)
        for i in range(1, num_block + 1):
            self.add_module(f'B{i}', self.BLOCK(num_feat))
        self.c1 = self.POINTWISE(num_block * num_feat, num_feat)
        self.c2 = self.CONV(num_feat, num_feat)
        self.upsampler = UpsampleOneStep(num_feat, num_out_ch, upscale)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x num_in_ch x H x W, values in [0, 1], RGB; any memory format. H and W of 15 and more.

        Returns:
            N x num_out_ch x (scale H) x (scale W), values about [0, 1], not clipped.

        Raises:
            ValueError: x has another number of dimensions or channels, or is smaller than 15x15.
        """
        check_input(self.NAME, x, self.num_in_ch, ESA.MIN_SIZE)
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
            The keyword arguments of the constructor, or None when this is not such a network.
        """
        if not has_weights(state_dict, cls.DIMENSIONS):
            return None
        num_feat, copied_ch = state_dict['fea_conv.pw.weight'].shape[:2]
        num_in_ch = copied_ch // COPIES
        scale = tail_scale(state_dict['upsampler.upsampleOneStep.0.weight'].shape[0], num_in_ch)
        if scale is None:
            return None
        return dict(num_in_ch=num_in_ch, num_feat=num_feat, num_block=count_blocks(state_dict, 'B{}.c5.weight'),
                    num_out_ch=num_in_ch, upscale=scale)
