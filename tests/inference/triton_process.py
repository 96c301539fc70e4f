"""The fused attention beside torch's on a CPU, where `TRITON_INTERPRET=1`: a process of its own, as triton looks for that
when it is imported. Prints a JSON object: the largest error by case, as a part of the largest value."""

import json

import torch

from vapsr_arch.archs.vapsr_arch import Attention
from vapsr_arch.engines.triton_attention import FusedAttention

# One pixel; two images, and more channels than a program takes; more rows and columns than a program takes.
CASES = {'float32 1x1': (torch.float32, 1, 64, 1, 1), 'float16 7x5': (torch.float16, 2, 80, 7, 5),
         'float32 17x33': (torch.float32, 1, 8, 17, 33)}


def error(dtype: torch.dtype, *shape: int) -> float:
    torch.manual_seed(0)
    attention = Attention(shape[1]).to(dtype)
    for parameter in attention.parameters():
        parameter.data.uniform_(-0.5, 0.5)  # biases that would show beyond the border
    x = torch.randn(shape).to(dtype)
    with torch.no_grad():
        expected = attention.float()(x.float())
        result = FusedAttention(attention.to(dtype)).fused(x)
    assert result.dtype == dtype and result.is_contiguous(memory_format=torch.channels_last)
    return ((result.float() - expected).abs().max() / expected.abs().max()).item()


if __name__ == '__main__':
    print(json.dumps({name: error(*case) for name, case in CASES.items()}))
