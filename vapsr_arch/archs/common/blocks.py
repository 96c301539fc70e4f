"""Blocks that several networks share. Module names are those of the checkpoints.

ESA and the wiring of feature distillation: Jie Liu et al., "Residual Feature Distillation Network for Lightweight Image
Super-Resolution", ECCV Workshops 2020, arXiv 2009.11551. CCA: Zheng Hui et al., "Lightweight Image Super-Resolution with
Information Multi-distillation Network", ACM MM 2019, arXiv 1909.11856. BSConvU: Daniel Haase and Manuel Amthor,
"Rethinking Depthwise Separable Convolutions", CVPR 2020, arXiv 2003.13549.

Every block takes and gives N x C x H x W. In-place operations stand only where nothing else holds their input.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common.depthwise import DepthwiseConv2d
from vapsr_arch.archs.common.pointwise import PointwiseConv2d

Activation = Callable[[Tensor], Tensor]
Layer = Callable[[int, int], nn.Module]  # from the channels of its input and its output


def conv1x1(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    return PointwiseConv2d(in_channels, out_channels, bias)


def conv3x3(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


class ChannelLinear(nn.Linear):
    """A 1x1 convolution whose weight is an `nn.Linear`'s: it works on the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        # In channels_last both permutations are free.
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BSConvU(nn.Module):
    """Blueprint separable convolution: a 1x1 convolution, then a 3x3 depthwise one.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        pw: The 1x1 convolution; None for one without bias.
        downsample: Whether the depthwise convolution has stride 2 and no padding, instead of keeping height and width.
    """

    def __init__(self, in_channels: int, out_channels: int, pw: nn.Module | None = None, downsample: bool = False) -> None:
        super().__init__()
        self.pw = conv1x1(in_channels, out_channels, bias=False) if pw is None else pw
        self.dw = (nn.Conv2d(out_channels, out_channels, 3, stride=2, groups=out_channels) if downsample
                   else DepthwiseConv2d(out_channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))


class CCA(nn.Module):
    """Contrast-aware channel attention: channels scaled by a function of their contrast, standard deviation + mean.

    Args:
        num_feat: Channels of the input and the output, 16 and more.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            conv1x1(num_feat, num_feat // 16), nn.ReLU(inplace=True), conv1x1(num_feat // 16, num_feat), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        # torch.std takes three times as long on a CPU. The square root has no gradient at 0, where a channel is constant.
        variance = (x - mean).square_().mean((2, 3), keepdim=True)
        return x * self.conv_du(variance.clamp(min=1e-12).sqrt() + mean)


class ESA(nn.Module):
    """Enhanced spatial attention: a mask from a view of the image that is shrunk sixfold. Takes 15x15 pixels and more.

    Args:
        num_feat: Channels of the input and the output, 4 and more; a quarter of them inside.
        pointwise: Makes its 1x1 convolutions.
        conv: Makes its 3x3 convolutions.
        conv2: The 3x3 convolution with stride 2 and no padding, of num_feat // 4 channels.
        act: Activation of the shrunk view.
    """

    MIN_SIZE = 15  # pixels: conv2 leaves 7, what the pooling window needs

    def __init__(self, num_feat: int, pointwise: Layer, conv: Layer, conv2: nn.Module, act: Activation) -> None:
        super().__init__()
        inner = num_feat // 4
        self.act = act
        self.conv1 = pointwise(num_feat, inner)
        self.conv_f = pointwise(inner, inner)
        self.conv_max = conv(inner, inner)
        self.conv2 = conv2
        self.conv3 = conv(inner, inner)
        self.conv3_ = conv(inner, inner)
        self.conv4 = pointwise(inner, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        full = self.conv1(x)
        view = F.max_pool2d(self.conv2(full), kernel_size=7, stride=3)
        view = self.act(self.conv_max(view))
        view = self.conv3_(self.act(self.conv3(view)))
        view = F.interpolate(view, size=x.shape[2:], mode='bilinear', align_corners=False)
        return x * torch.sigmoid(self.conv4(view + self.conv_f(full)))


class FeatureDistillation(nn.Module):
    """Three steps that each keep half the channels (`c*_d`) and refine all (`c*_r`), then a fusion of what was kept.

    Args:
        num_feat: Channels of the input and the output.
        pointwise: Makes its 1x1 convolutions.
        conv: Makes its 3x3 convolutions.
        act: Activation; may work in place.
    """

    def __init__(self, num_feat: int, pointwise: Layer, conv: Layer, act: Activation) -> None:
        super().__init__()
        half = num_feat // 2
        self.act = act
        self.c1_d = pointwise(num_feat, half)
        self.c1_r = conv(num_feat, num_feat)
        self.c2_d = pointwise(num_feat, half)
        self.c2_r = conv(num_feat, num_feat)
        self.c3_d = pointwise(num_feat, half)
        self.c3_r = conv(num_feat, num_feat)
        self.c4 = conv(num_feat, half)
        self.c5 = pointwise(4 * half, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for keep, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            kept.append(self.act(keep(x)))
            x = self.act(refine(x) + x)
        kept.append(self.act(self.c4(x)))
        return self.c5(torch.cat(kept, dim=1))
