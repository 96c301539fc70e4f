"""How operations are counted, against the published figures and against sums done by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.operations import activations, multi_adds, operations

VAPSR = dict(scale=4, num_feat=48, num_block=21)


# Published for an output of 1280x720, in G.
@pytest.mark.parametrize(('name', 'arguments', 'scale', 'published'), [
    ('VapSR', dict(VAPSR, num_block=20, scale=2), 2, '73.97'),
    ('VapSR', dict(VAPSR, num_block=20, scale=3), 3, '33.68'),
    ('VapSR', VAPSR, 4, '19.52'),
    ('VapSR', dict(scale=4, num_feat=32, num_block=11, conv_groups=2), 4, '8.99'),
    ('RFDN', {}, 4, '23.76'),
    ('BSRN', {}, 4, '19.2'),
    ('BSRN_S', {}, 4, '8.29'),
    ('IMDN', dict(scale=2), 2, '158.8'),
    ('IMDN', dict(scale=4), 4, '40.9'),
    ('PAN', dict(scale=2), 2, '70.5'),
    ('PAN', dict(scale=4), 4, '28.2'),
])
def test_published_multi_adds(name: str, arguments: dict[str, Any], scale: int, published: str) -> None:
    decimals = len(published.partition('.')[2])
    assert f'{multi_adds(NETWORKS[name](**arguments), scale) / 1e9:.{decimals}f}' == published


def test_the_default_size_is_rounded_up() -> None:
    assert multi_adds(nn.Conv2d(3, 1, 1), 3) == 240 * 427 * 3


@pytest.mark.parametrize(('name', 'published'), [('RFDN', 112.03), ('BSRN_S', 65.76)])
def test_activations_of_the_ntire_2022_challenge(name: str, published: float) -> None:
    assert round(activations(NETWORKS[name]()) / 1e6, 2) == published


class Toy(nn.Module):
    """One of each: a convolution, a transposed one, a linear layer, attention, and what counts for nothing."""

    num_in_ch = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.same = nn.Conv2d(4, 4, (3, 5), padding='same', groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.transposed = nn.ConvTranspose2d(5, 2, 2, stride=2)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(nn.functional.gelu(self.norm(self.same(self.conv(x)))).permute(0, 2, 3, 1))
        x = nn.functional.layer_norm(x, (5,)).flatten(1, 2)
        x = nn.functional.scaled_dot_product_attention(x, x, x).mT.unflatten(2, (10, 14))
        return nn.functional.interpolate(self.transposed(x), scale_factor=3, mode='bilinear')


def test_counts_by_hand() -> None:
    network, pixels = Toy(), 10 * 14  # ceil(28 / 3), ceil(40 / 3)
    attention = 2 * pixels ** 2 * 5
    assert multi_adds(network, 3, (28, 40)) == pixels * (9 * 4 + 15 * 2 * 4 + 4 * 5 + 5 * 2 * 4) + attention
    assert activations(network, (10, 14)) == pixels * (4 + 4 + 4 * 2)
    assert network.training and not network.norm.running_mean.any() and network.conv.weight.device.type == 'cpu'


class LooksAtValues(nn.Conv2d):
    """A network that needs an image, not its shape alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.mean().item() > 0 else -x)


def test_a_network_that_looks_at_values_is_given_an_image() -> None:
    network = LooksAtValues(3, 2, 1)
    assert multi_adds(network, 2, (10, 12)) == 5 * 6 * 3 * 2
    with pytest.raises(RuntimeError):
        operations(network, (5, 6))


def test_a_network_that_fails_raises_its_own_exception() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError(x.device.type)

    with pytest.raises(ArithmeticError, match='cpu'):
        multi_adds(Failing(), 2, (8, 8))


def test_random_numbers_of_a_run_stay_as_they_are_when_shapes_suffice() -> None:
    network, state = nn.Conv2d(3, 3, 1), torch.get_rng_state()
    multi_adds(network, 2)
    assert torch.equal(torch.get_rng_state(), state)
