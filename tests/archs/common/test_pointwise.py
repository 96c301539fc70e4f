"""PointwiseConv2d: torch's outputs and gradients."""

import pytest
import torch

from tests.archs.common.test_depthwise import gradients
from vapsr_arch.archs.common.pointwise import PointwiseConv2d


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('channels', [(1, 1), (7, 12), (64, 32)])
def test_outputs_and_gradients_are_those_of_torch(channels: tuple[int, int], bias: bool,
                                                  memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv2d(*channels, bias)
    for batch, height, width in ((1, 1, 1), (2, 3, 20), (3, 13, 1)):
        x = torch.randn(batch, channels[0], height, width).contiguous(memory_format=memory_format)
        for our, their in zip(gradients(layer, x, layer), gradients(layer, x, super(PointwiseConv2d, layer).forward)):
            torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_inputs_without_gradient() -> None:
    layer, x = PointwiseConv2d(16, 8), torch.rand(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None


def test_a_batch_of_none() -> None:
    x = torch.rand(0, 16, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert PointwiseConv2d(16, 8)(x).shape == (0, 8, 8, 8)


def test_what_follows_may_work_in_place() -> None:
    x = torch.rand(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    layers = torch.nn.Sequential(PointwiseConv2d(16, 8), torch.nn.LeakyReLU(inplace=True))
    layers(x).sum().backward()
    assert layers[0].weight.grad.abs().sum() > 0
