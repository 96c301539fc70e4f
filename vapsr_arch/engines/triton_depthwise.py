"""A depthwise 5x5 convolution as a Triton kernel for channels_last tensors, with a product at its end.

Each program goes down a strip of the image, `BLOCK_X` pixels wide, and keeps the sums of five output rows in registers: a row
is loaded once for each of the kernel's columns and added to all five, so that a pixel takes about 6 loads instead of 25. The
rows of a strip are as far apart as the kernel's: dilated by 3, three strips lie between one another's rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 16  # output rows of a strip; four more are read for them
BLOCK_X = 8
MAX_BLOCK_C = 64
NUM_WARPS = 4


@triton.jit
def _depthwise5x5(x_ptr, gate_ptr, weight_ptr, bias_ptr, out_ptr, height, width, channels, channel_stride, tap_stride,  # noqa: ANN001, ANN202
                  DILATION: tl.constexpr, GATED: tl.constexpr, ROWS: tl.constexpr, BLOCK_X: tl.constexpr,
                  BLOCK_C: tl.constexpr):
    blocks = tl.cdiv(channels, BLOCK_C)
    image = (tl.program_id(2) // blocks).to(tl.int64) * height  # its first row among those of the batch
    c = tl.program_id(2) % blocks * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[:, None]
    first = tl.program_id(1) // DILATION * DILATION * ROWS + tl.program_id(1) % DILATION

    taps = ()
    for i in tl.static_range(25):
        taps = taps + (tl.load(weight_ptr + c * channel_stride + i * tap_stride, mask=c < channels).to(tl.float32),)
    bias = tl.load(bias_ptr + c, mask=c < channels).to(tl.float32)
    zeros = tl.full((BLOCK_X, BLOCK_C), 0, tl.float32)

    unfinished = (zeros, zeros, zeros, zeros)
    for row in range(ROWS + 4):
        y = first + (row - 2) * DILATION
        start = (image + y) * width * channels
        sums = unfinished + (zeros,)
        for j in tl.static_range(5):
            column = x + (j - 2) * DILATION
            inside = (column >= 0) & (column < width) & (c < channels)
            value = tl.load(x_ptr + start + (column * channels + c), mask=inside & (y >= 0) & (y < height), other=0)
            value = value.to(tl.float32)
            # The row is the last, kernel row 4, of the first sum's, and the first of the last sum's.
            sums = (sums[0] + value * taps[20 + j], sums[1] + value * taps[15 + j], sums[2] + value * taps[10 + j],
                    sums[3] + value * taps[5 + j], sums[4] + value * taps[j])
        unfinished = (sums[1], sums[2], sums[3], sums[4])

        y = y - 2 * DILATION  # the row that is finished
        start = (image + y) * width * channels
        inside = (x < width) & (c < channels) & (row >= 4) & (y < height)
        result = sums[0] + bias
        if GATED:
            result = result * tl.load(gate_ptr + start + (x * channels + c), mask=inside).to(tl.float32)
        tl.store(out_ptr + start + (x * channels + c), result.to(out_ptr.dtype.element_ty), mask=inside)


def depthwise5x5(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1, gate: Tensor | None = None) -> Tensor:
    """Convolves each channel with a 5x5 kernel of its own; zeros surround the image.

    Args:
        x: N x C x H x W; float16, bfloat16 or float32, channels_last. Sums are float32.
        weight: C x 1 x 5 x 5; fastest where the channels of a tap lie side by side in memory.
        bias: C.
        dilation: Distance of the kernel's taps.
        gate: What the result is multiplied by, N x C x H x W, channels_last; None for nothing.

    Returns:
        N x C x H x W, channels_last, of the type of x.
    """
    batch, channels, height, width = x.shape
    out = torch.empty_like(x)
    block_c = min(triton.next_power_of_2(channels), MAX_BLOCK_C)
    strips = triton.cdiv(triton.cdiv(height, dilation), ROWS) * dilation
    grid = (triton.cdiv(width, BLOCK_X), strips, batch * triton.cdiv(channels, block_c))
    _depthwise5x5[grid](x, x if gate is None else gate, weight, bias, out, height, width, channels, weight.stride(0),
                        weight.stride(3), DILATION=dilation, GATED=gate is not None, ROWS=ROWS, BLOCK_X=BLOCK_X,
                        BLOCK_C=block_c, num_warps=NUM_WARPS)
    return out
