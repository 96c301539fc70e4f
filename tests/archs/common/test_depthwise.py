"""DepthwiseConv2d: torch's outputs and gradients, by the compiled way and by the plain one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vapsr_arch.archs.common import depthwise
from vapsr_arch.archs.common.depthwise import DepthwiseConv2d
from vapsr_arch.archs.common.pointwise import PointwiseConv2d


def gradients(layer: torch.nn.Conv2d, x: torch.Tensor, forward: Callable) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    output = forward(x)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [output.detach(), x.grad, *(parameter.grad.clone() for parameter in layer.parameters())]


@pytest.mark.parametrize('dilation_is_slow', [True, False])
@pytest.mark.parametrize('compiled', [True, False])
@pytest.mark.parametrize('channels, kernel_size, dilation', [
    (16, 3, 1), (48, 5, 1), (16, 5, 3), (32, 7, 3), (10, 5, 3), (16, 9, 1)])
def test_outputs_and_gradients_are_those_of_torch(dilation_is_slow: bool, compiled: bool, channels: int, kernel_size: int,
                                                  dilation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, 'DILATION_IS_SLOW', dilation_is_slow)
    if compiled and depthwise._library() is None:
        pytest.skip('no C compiler')
    if not compiled:
        monkeypatch.setattr(depthwise, '_library', lambda: None)
    torch.manual_seed(0)
    layer = DepthwiseConv2d(channels, kernel_size, dilation)
    for height, width in ((1, 1), (3, 20), (20, 3), (13, 17)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(2, channels, height, width).contiguous(memory_format=memory_format)
            for our, their in zip(gradients(layer, x, layer), gradients(layer, x, super(DepthwiseConv2d, layer).forward)):
                torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_inputs_without_gradient() -> None:
    layer = DepthwiseConv2d(16, 5)
    layer(torch.rand(1, 16, 8, 8)).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    x = torch.rand(1, 16, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize('layer', [DepthwiseConv2d(16, 5), PointwiseConv2d(16, 16)])
@pytest.mark.parametrize('x', [torch.rand(1, 32, 8, 8), torch.rand(1, 16, 8, 8, dtype=torch.float64), torch.rand(2, 3)])
def test_what_does_not_fit_is_refused(x: torch.Tensor, layer: torch.nn.Module) -> None:
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError):
        layer(x)


def test_missing_compiler_is_logged_once_and_training_continues(monkeypatch: pytest.MonkeyPatch,
                                                            caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', '')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    depthwise._library.cache_clear()
    try:
        with caplog.at_level('INFO', 'basicsr'):
            layer = DepthwiseConv2d(16, 3)
            for _ in range(2):
                layer(torch.rand(1, 16, 8, 8)).sum().backward()
        assert sum('could not be compiled' in record.message for record in caplog.records) == 1
        assert layer.weight.grad is not None
    finally:
        depthwise._library.cache_clear()
