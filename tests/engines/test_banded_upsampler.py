"""The upsampler in bands gives what the plain one gives."""

import copy

import pytest
import torch

from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines.banded_upsampler import BandedUpsampler, band_upsampler
from vapsr_arch.memory import CLEAR_REFS, peak_growth


def upsampler(scale: int, channels: int = 3) -> torch.nn.Sequential:
    torch.manual_seed(0)
    network = VapSR(num_out_ch=channels, scale=scale, num_feat=8, num_block=1, d_atten=8)
    return network.upsampler.requires_grad_(False).to(memory_format=torch.channels_last)


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (32, 5), (33, 1), (67, 40), (300, 9)])
def test_outputs_are_those_of_the_plain_one(scale: int, channels: int, size: tuple[int, int]) -> None:
    plain = upsampler(scale, channels)
    banded = BandedUpsampler(copy.deepcopy(plain))
    x = torch.randn(2, 8, *size)
    for features in (x, x.contiguous(memory_format=torch.channels_last), x[:1]):
        result = banded(features)
        assert result.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(result, plain(features), rtol=0, atol=1e-6)


def test_features_stay_as_they_are() -> None:
    banded, x = BandedUpsampler(upsampler(2)), torch.randn(1, 8, 40, 40)
    before = x.clone()
    banded(x)
    assert torch.equal(x, before)


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason='the system does not measure the peak of the memory')
def test_it_takes_little_more_than_its_result() -> None:
    plain, x = upsampler(4), torch.randn(1, 8, 640, 640)
    banded = BandedUpsampler(copy.deepcopy(plain))
    banded(x), plain(x)  # what is to be once
    result = 3 * 4 * 16 * 640 * 640
    assert result <= peak_growth(lambda: banded(x)) < 1.8 * result
    assert peak_growth(lambda: plain(x)) > 2.4 * result  # else this test would show nothing


def test_other_networks_stay_as_they_are() -> None:
    network = torch.nn.Sequential(upsampler(2))
    assert band_upsampler(network) is network and isinstance(network[0], torch.nn.Sequential)
