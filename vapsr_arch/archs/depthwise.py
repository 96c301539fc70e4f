"""Depthwise convolution that trains fast on a CPU.

torch 2.13 spends most of a training step of a large-kernel network in the gradient of its depthwise convolutions. Both
gradients have shorter ways: that of the input is a depthwise convolution with the kernel turned round; that of the weight
is a sum of shifted products, in `depthwise_weight_grad.c`, which is compiled when it is first needed.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vapsr_arch.archs import native

SOURCE = Path(__file__).with_name('depthwise_weight_grad.c')
LANES = 16  # the C source works on this many channels at a time
KERNEL_SIZES = (3, 5, 7)


@functools.cache
def _weight_grad_library() -> ctypes.CDLL | None:
    return native.load(SOURCE, 'The fast gradient of depthwise convolutions')


def _weight_grad(x: Tensor, grad: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """The gradient of a "same"-padded depthwise kernel, C x 1 x K x K, from its input and its output's gradient."""
    batch, channels, height, width = x.shape
    library = _weight_grad_library() if channels % LANES == 0 and kernel_size in KERNEL_SIZES else None
    if library is not None:
        x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
        result = torch.empty(kernel_size, kernel_size, channels)
        failed = library.depthwise_weight_grad(
            *(ctypes.c_void_p(t.data_ptr()) for t in (x, grad, result)),
            *(ctypes.c_long(n) for n in (batch, height, width, channels, kernel_size, dilation)),
            ctypes.c_int(torch.get_num_threads()))
        if not failed:
            return result.permute(2, 0, 1).unsqueeze(1)
    padding = dilation * (kernel_size // 2)
    weight = x.new_empty(channels, 1, kernel_size, kernel_size)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], channels, [False, True, False])[1]


class _DepthwiseConv2d(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return F.conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        kernel_size, dilation = weight.shape[-1], ctx.dilation
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = F.conv2d(grad, weight.flip(2, 3), padding=dilation * (kernel_size // 2), dilation=dilation,
                              groups=x.shape[1])
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
        plain = (not torch.is_grad_enabled() or x.device.type != 'cpu' or x.dtype != torch.float32
                 or torch.is_autocast_enabled('cpu') or torch.compiler.is_compiling() or torch.jit.is_tracing())
        if plain:
            return super().forward(x)
        return _DepthwiseConv2d.apply(x, self.weight, self.bias, self.dilation[0])
