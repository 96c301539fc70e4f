"""Depthwise convolution that is fast on a CPU, above all in training.

torch 2.13 spends most of a training step of a large-kernel network in its depthwise convolutions: in their gradients, and, on
processors without AVX-512, in those with dilation. For training, `depthwise.c` computes them; it is compiled when it is first
needed. The gradient of the input is a convolution with the kernel turned round. Elsewhere, on such processors, convolutions
with dilation become others.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vapsr_arch.archs.common import native
from vapsr_arch.archs.common.eager import trains_in_float32

SOURCE = Path(__file__).with_name('depthwise.c')
BLOCK = 16  # the C source works on this many channels at a time
KERNEL_SIZES = (3, 5, 7)
DILATION_IS_SLOW = torch.backends.cpu.get_cpu_capability() == 'AVX2'


@functools.cache
def _library() -> ctypes.CDLL | None:
    return native.load(SOURCE, 'Fast depthwise convolutions')


def _compiled(function: str, tensors: Sequence[Tensor | None], x: Tensor, kernel_size: int, dilation: int) -> bool:
    """Calls a function of the C source with tensors, of which the last one is its result; False where that cannot be."""
    batch, channels, height, width = x.shape
    library = _library() if channels % BLOCK == 0 and kernel_size in KERNEL_SIZES else None
    return library is not None and not getattr(library, function)(
        *(ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors),
        *(ctypes.c_long(number) for number in (batch, height, width, channels, kernel_size, dilation)),
        ctypes.c_int(torch.get_num_threads()))


def _fast_conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """As `_conv`, by the C source where that can be."""
    seen = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(seen)
    taps, bias = weight.flatten(1).t().contiguous(), bias if bias is None else bias.contiguous()
    return y if _compiled('depthwise', (seen, taps, bias, y), x, weight.shape[-1], dilation) else _conv(x, weight, bias, dilation)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """The "same"-padded depthwise convolution of N x C x H x W with C x 1 x K x K."""
    if dilation > 1 and x.device.type == 'cpu' and DILATION_IS_SLOW:
        return _conv_of_grids(x, weight, bias, dilation)
    return F.conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=x.shape[1])


def _conv_of_grids(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """As `_conv`: pixels `dilation` apart see one another only, and are an image of their own, convolved without dilation."""
    batch, channels, height, width = x.shape
    rows, columns = (-(-size // dilation) for size in (height, width))
    x = F.pad(x, (0, columns * dilation - width, 0, rows * dilation - height)).permute(0, 2, 3, 1)
    grids = x.reshape(batch, rows, dilation, columns, dilation, channels).permute(0, 2, 4, 1, 3, 5)
    grids = grids.reshape(batch * dilation**2, rows, columns, channels).permute(0, 3, 1, 2)
    grids = _conv(grids, weight, bias, dilation=1).permute(0, 2, 3, 1)
    y = grids.reshape(batch, dilation, dilation, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    y = y.reshape(batch, rows * dilation, columns * dilation, channels)[:, :height, :width]
    return y.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _weight_grad(x: Tensor, grad: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """The gradient of a "same"-padded depthwise kernel, C x 1 x K x K, from its input and its output's gradient."""
    channels = x.shape[1]
    x, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, grad))
    taps = x.new_empty(kernel_size, kernel_size, channels)
    if _compiled('depthwise_weight_grad', (x, grad, taps), x, kernel_size, dilation):
        return taps.permute(2, 0, 1).unsqueeze(1)
    padding = dilation * (kernel_size // 2)
    weight = x.new_empty(channels, 1, kernel_size, kernel_size)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], channels, [False, True, False])[1]


class _DepthwiseConv2d(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _fast_conv(x, weight, bias, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernel_size, dilation = weight.shape[-1], ctx.dilation
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _fast_conv(grad, weight.flip(2, 3), None, dilation)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_grad(x, grad, kernel_size, dilation)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps height and width; an `nn.Conv2d` but for its speed in training.

    Args:
        channels: Channels of the input and the output, N x channels x H x W.
        kernel_size: Odd height and width of the kernel.
        dilation: Distance of the kernel's taps.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(channels, channels, kernel_size, padding=dilation * (kernel_size // 2), dilation=dilation,
                         groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_exporting():  # what exported graphs run on has its own ways
            return super().forward(x)
        if x.ndim != 4 or x.shape[1] != self.in_channels:  # torch says what is wrong with that
            return super().forward(x)
        conv = _DepthwiseConv2d.apply if trains_in_float32(x, self.weight, self.bias) else _conv
        return conv(x, self.weight, self.bias, self.dilation[0])
