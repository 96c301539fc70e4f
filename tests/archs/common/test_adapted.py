"""Third-party networks, fitted in: the range of values, the multiples of a window, the names in the state dict."""

import copy

import pytest
import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.adapted import AdaptedNetwork, adapted, bare, reflected


class Picky(nn.Module):
    """x2; takes multiples of `window_size` alone, and returns the largest value of its input as the last pixel."""

    def __init__(self, window_size: int | tuple[int, int] = 1) -> None:
        super().__init__()
        self.window_size = window_size
        self.conv = nn.Conv2d(3, 3, 1)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.window_size, tuple) or not (x.shape[2] % self.window_size or x.shape[3] % self.window_size)
        self.largest = x.max().item()
        return self.conv(x).repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize('height, width', [(8, 8), (9, 15), (1, 1), (2, 17), (7, 1)])
def test_any_size(height: int, width: int) -> None:
    x = torch.rand(2, 3, height, width)
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(adapted(Picky(8))(x), expected)


def test_range_of_values() -> None:
    network, x = Picky(), torch.rand(1, 3, 4, 4)
    x[0, 0, 0, 0] = 1
    torch.testing.assert_close(adapted(network, img_range=255)(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert network.largest == 255


def test_only_where_it_is_needed() -> None:
    for network in (nn.Identity(), Picky(1), Picky((8, 8))):
        assert adapted(network) is network and bare(network) is network
    assert adapted(Picky(8), size_multiple=1).__class__ is Picky
    network = adapted(Picky(8))
    assert adapted(network) is network and isinstance(bare(network), Picky)


def test_state_dict_is_the_inner_networks() -> None:
    network = AdaptedNetwork(Picky(8), 255, 8)
    weights = network.state_dict()
    assert list(weights) == ['conv.weight', 'conv.bias']
    other = copy.deepcopy(network)
    nn.init.ones_(other.network.conv.weight)
    other.load_state_dict(weights)
    assert torch.equal(other.network.conv.weight, network.network.conv.weight)


def test_reflection_is_repeated_where_it_is_wider_than_the_image() -> None:
    x = torch.arange(3.)[None, None, None].expand(1, 1, 3, 3)
    assert reflected(x, 0, 6)[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]
