"""VapSR's upsampler, some rows at a time, for upscaling images on a CPU.

In one piece, its features at full resolution are most of the memory that a network takes, and torch's PixelShuffle to three
channels takes as long as the convolution before it.
"""

import copy
import math

import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.tiles import spans
from vapsr_arch.archs.vapsr_arch import VapSR

# With half or twice as many, the upsampler took some 8% longer for 1.1 megapixels. As bands are a share of the image, what small
# ones take of the memory shows what large ones will.
_BANDS = 8
_LEAST_ROWS = 32  # so that those which are computed twice are few


class BandedUpsampler(nn.Module):
    """An upsampler that gives what the plain one gives. Under torch.compile, the plain one runs.

    Args:
        plain: 3x3 convolutions, LeakyReLUs and PixelShuffles, a convolution and a PixelShuffle last. It is kept; its LeakyReLUs
            work in place from now on.
    """

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.plain = plain
        for layer in plain:
            if isinstance(layer, nn.LeakyReLU):
                layer.inplace = True
        self.factor = plain[-1].upscale_factor
        self.first, self.last = plain[:-2], _row_by_row(plain[-2], self.factor)
        self.factor_before = math.prod(layer.upscale_factor for layer in self.first if isinstance(layer, nn.PixelShuffle))
        self.halo = sum(isinstance(layer, nn.Conv2d) for layer in plain)  # of 3x3, at most so many rows of the input

    def forward(self, x: Tensor) -> Tensor:
        """Upscales features.

        Args:
            x: N x C x H x W.

        Returns:
            N x C x (scale H) x (scale W), channels_last.
        """
        if torch.compiler.is_compiling():
            return self.plain(x)
        batch, _, height, width = x.shape
        factor, before = self.factor, self.factor_before
        scale, channels = before * factor, self.last.out_channels // factor**2
        out = torch.empty(batch, channels, scale * height, scale * width, dtype=x.dtype, memory_format=torch.channels_last)
        for band in spans(height, max(_LEAST_ROWS, -(-height // _BANDS)), self.halo):
            squares = self.last(self.first(x[:, :, band.start:band.stop]))
            squares = squares[:, :, before * (band.first - band.start):before * (band.last - band.start)].permute(0, 2, 3, 1)
            rows = out[:, :, scale * band.first:scale * band.last].permute(0, 2, 3, 1)
            # Each of a square's rows, with the channels of its pixels, is a run in both.
            rows.view(batch, -1, factor, before * width, factor * channels).copy_(
                squares.unflatten(3, (factor, factor * channels)).transpose(2, 3))
        return out


def _row_by_row(convolution: nn.Conv2d, factor: int) -> nn.Conv2d:
    """A copy of the convolution before a PixelShuffle, with its output channels in the order row, column, channel.

    PixelShuffle takes them as channel, row, column.
    """
    result = copy.deepcopy(convolution)
    for parameter in result.parameters():
        squares = parameter.detach().unflatten(0, (-1, factor**2)).transpose(0, 1).flatten(0, 1)
        parameter.data = squares.contiguous(memory_format=torch.channels_last if squares.ndim == 4 else torch.contiguous_format)
    return result


def band_upsampler(network: nn.Module) -> nn.Module:
    """Has a network, if it is VapSR, upsample in bands; returns it."""
    if isinstance(network, VapSR):
        network.upsampler = BandedUpsampler(network.upsampler)
    return network
