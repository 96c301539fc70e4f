"""Small networks of every kind, as checkpoints."""

from pathlib import Path

import torch
from torch import nn

from vapsr_arch.archs import NETWORKS

SMALL = {
    'VapSR': dict(num_feat=8, num_block=2, d_atten=16, scale=4),
    'VapSR-S': dict(num_feat=8, num_block=2, d_atten=16, scale=2, conv_groups=2),
    'IMDN': dict(num_feat=16, num_block=2, scale=3),
    'RFDN': dict(num_feat=8, num_block=2),
    'BSRN': dict(num_feat=16, num_block=2, upscale=2),
    'BSRN_S': dict(num_feat=8, num_block=2),
    'PAN': dict(nf=8, unf=6, nb=2, scale=3),
    'PixelAttentionRoadmap': dict(num_feat=8, num_block=2, scale=2, step='v'),
}


def small_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[name.removesuffix('-S')](**SMALL[name]).eval()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):  # as constructed, weight and bias could be left out unnoticed
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def save(folder: Path, name: str) -> tuple[Path, nn.Module]:
    """Writes a network's checkpoint; gives its path and the network."""
    network = small_network(name)
    path = folder / f'{name}.pth'
    torch.save({'params': network.state_dict()}, path)
    return path, network
