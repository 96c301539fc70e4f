from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from spandrel.util import store_hyperparameters


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(dim, dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.depthwise_dilated = nn.Conv2d(
            dim, dim, 5, padding=6, dilation=3, groups=dim
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.depthwise_dilated(self.depthwise(self.pointwise(x)))


class VAB(nn.Module):
    def __init__(self, d_model: int, d_atten: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(d_model, d_atten, 1)
        self.atten_branch = Attention(d_atten)
        self.proj_2 = nn.Conv2d(d_atten, d_model, 1)
        self.pixel_norm = nn.LayerNorm(d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.proj_2(self.atten_branch(F.gelu(self.proj_1(x))))
        return self.pixel_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@store_hyperparameters()
class VapSR(nn.Module):
    """
    Efficient Image Super-Resolution Using Vast-Receptive-Field Attention
    """

    hyperparameters = {}  # noqa: RUF012

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        d_atten: int = 64,
        conv_groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(VAB(num_feat, d_atten) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=conv_groups)
        if scale == 4:
            self.upsampler = nn.Sequential(
                nn.Conv2d(num_feat, 64, 3, padding=1),
                nn.PixelShuffle(2),
                nn.LeakyReLU(0.1),
                nn.Conv2d(16, 4 * num_out_ch, 3, padding=1),
                nn.PixelShuffle(2),
            )
        else:
            self.upsampler = nn.Sequential(
                nn.Conv2d(num_feat, 56, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(56, num_out_ch * scale**2, 3, padding=1),
                nn.PixelShuffle(scale),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        feat = self.conv_first(x)
        return self.upsampler(self.conv_body(self.body(feat)) + feat)
