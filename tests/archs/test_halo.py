"""How far an output pixel's view reaches, as tiling relies on it."""

from typing import Any

import pytest
import torch
from torch import nn

from vapsr_arch.archs import NETWORKS


@pytest.mark.parametrize(('name', 'arguments'), [
    *(('VapSR', dict(num_feat=8, num_block=2, d_atten=16, scale=scale)) for scale in (1, 2, 3, 4)),
    *(('PAN', dict(nf=8, unf=6, nb=2, scale=scale)) for scale in (1, 2, 3, 4)),
    *(('PixelAttentionRoadmap', dict(num_feat=8, num_block=2, scale=2, step=step)) for step in ('i', 'ii', 'iii', 'iv', 'v')),
], ids=str)
def test_the_halo_is_as_far_as_a_pixel_reaches(name: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](**arguments).eval()
    width = 2 * network.halo + 9
    image = torch.rand(1, 3, 1, width)
    image[..., width // 2] = torch.nan  # spreads to all that depends on it
    with torch.no_grad():
        touched = network(image).isnan().any(dim=(0, 1, 2)).nonzero().flatten() // network.scale
    assert (touched - width // 2).abs().max() == network.halo


def effect_of_the_far_end(network: nn.Module) -> float:
    """How much the first pixels of a strip change with the last ones, which are beyond any stack of convolutions, cut off.

    In float64: in float32, where rounding changes with the size, every network seems to see them.
    """
    network = network.eval().double()
    image = torch.rand(1, 3, network.min_size, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        whole, part = network(image), network(image[..., :290])
    return (whole[..., :network.scale] - part[..., :network.scale]).abs().max().item()


@pytest.mark.parametrize('name', ['IMDN', 'RFDN', 'BSRN', 'BSRN_S'])
def test_a_network_that_sees_the_whole_image_has_no_halo(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    assert network.halo is None and effect_of_the_far_end(network) > 1e-11


@pytest.mark.parametrize('name', ['VapSR', 'PAN', 'PixelAttentionRoadmap'])
def test_a_network_with_a_halo_does_not_see_the_whole_image(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    assert network.halo < 290 and effect_of_the_far_end(network) < 1e-13
