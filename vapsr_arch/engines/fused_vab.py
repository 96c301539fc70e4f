"""VapSR's attention blocks (VAB) in one pass over memory each, for upscaling images on a CPU.

Layer by layer, a block writes nine tensors of the image's size to memory and reads them back, which takes about as long as
the arithmetic itself. `fused_vab.c` keeps them in the processor's cache; it is compiled when it is first needed.
"""

import copy
import ctypes
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs.common import native
from vapsr_arch.archs.vapsr_arch import VAB

SOURCE = Path(__file__).with_name('fused_vab.c')
BLOCK = 16  # the C source works on channels by this many


@functools.cache
def _library() -> ctypes.CDLL | None:
    return native.load(SOURCE, 'The fused attention block')


def kernel(dtype: torch.dtype) -> Callable[..., int] | None:
    """The compiled function for float32 or bfloat16; None for other precisions and where this machine has none.

    bfloat16 needs a processor that multiplies it (AVX512_BF16).
    """
    name = {torch.float32: 'fused_vab', torch.bfloat16: 'fused_vab_bf16'}.get(dtype)
    return getattr(_library(), name, None) if name else None


@functools.cache
def _say_once(message: str) -> None:
    logging.getLogger('basicsr').warning(message)


def _run(x: Tensor, parameters: Tensor, d_atten: int) -> Tensor:
    """Runs the kernel.

    Args:
        x: N x d_model x H x W on the CPU, of a precision that `kernel` knows.
        parameters: What `_pack` makes, one dimension, float32.
        d_atten: Channels of the attention.

    Returns:
        N x d_model x H x W, of x's precision, channels_last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    batch, d_model, height, width = x.shape
    failed = kernel(x.dtype)(
        *(ctypes.c_void_p(t.data_ptr()) for t in (x, out, parameters)),
        *(ctypes.c_long(n) for n in (batch, height, width, d_model, d_atten)), ctypes.c_int(torch.get_num_threads()))
    if failed:
        raise MemoryError('there is not enough memory for the fused attention block')
    return out


# What torch.compile takes as it is. To call it otherwise costs the import of torch._dynamo, seconds at the first image.
_operator = torch.library.custom_op('vapsr_arch::fused_vab', _run, mutates_args=())


@_operator.register_fake
def _(x: Tensor, parameters: Tensor, d_atten: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


class FusedVAB(nn.Module):
    """A VAB whose forward pass on a CPU is a single pass over the image.

    It takes and gives what the VAB does, to the rounding of its precision, and may be called from several threads at once.
    Where the kernel cannot run, the VAB itself does: for tensors that are not on the CPU or not of the VAB's precision, where
    a gradient is asked for, and under tracing, exporting and autocast.

    Args:
        vab: The block, of a precision that `kernel` knows and with channels in multiples of 16; not copied. Its weights are
            taken as they are now.
    """

    def __init__(self, vab: VAB) -> None:
        super().__init__()
        self.vab = vab
        self.dtype = vab.proj_1.weight.dtype
        self.register_buffer('parameters_packed', _pack(vab), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block.

        Args:
            x: N x d_model x H x W, in any memory format.

        Returns:
            N x d_model x H x W, channels_last.

        Raises:
            MemoryError: There is not enough for the rows that the kernel keeps.
        """
        d_atten, d_model = self.vab.proj_1.weight.shape[:2]
        plain = (torch.jit.is_tracing() or torch.compiler.is_exporting() or torch.is_autocast_enabled('cpu')
                 or (torch.is_grad_enabled() and x.requires_grad) or x.numel() == 0 or x.ndim != 4 or x.shape[1] != d_model
                 or x.dtype != self.dtype or self.parameters_packed.dtype != torch.float32
                 or any(t.device.type != 'cpu' for t in (x, self.parameters_packed)))
        if not plain:
            run = _operator if torch.compiler.is_compiling() else _run
            return run(x, self.parameters_packed, d_atten)
        if not torch.compiler.is_compiling():
            _say_once('The fused attention block is for tensors on the CPU, of the precision of its weights and without '
                      'gradients; torch\'s own layers run.')
        return self.vab(x)


def _pack(vab: VAB) -> Tensor:
    """The parameters in the order and the layout in which the C source reads them."""
    attention = vab.atten_branch
    layers = (vab.proj_1, attention.pointwise, attention.depthwise, attention.depthwise_dilated, vab.proj_2)
    parts = [part for layer in layers for part in (_blocked(layer), layer.bias)]
    return torch.cat([part.detach().flatten().float() for part in (*parts, vab.pixel_norm.weight, vab.pixel_norm.bias)])


def _blocked(layer: nn.Conv2d) -> Tensor:
    """Output channels in blocks of 16: a 1x1 kernel as [block][input][16], a depthwise one as [block][tap][16].

    In bfloat16 two weights lie in the place of a float32. Of a 1x1 kernel they are of two inputs, [block][input / 2][16][2]; of
    a row of a depthwise one they are, twice, those that `add_taps` in the C source describes, [block][row][2][3][16][2].
    """
    weight = layer.weight.detach()
    if weight.dtype != torch.bfloat16:
        return weight.reshape(-1, BLOCK, weight[0].numel()).transpose(1, 2)
    if layer.groups == 1:
        pairs = weight.reshape(-1, BLOCK, layer.in_channels // 2, 2)
    else:
        pairs = torch.stack([F.pad(weight, padding) for padding in ((0, 1), (1, 0))], 3).reshape(-1, BLOCK, 5 * 2 * 3, 2)
    return pairs.transpose(1, 2).contiguous().view(torch.float32)


def fuse(network: nn.Module) -> nn.Module:
    """Copies a network for fast inference on a CPU.

    Args:
        network: VapSR, or any network with VABs in it; stays as it is.

    Returns:
        A copy in evaluation mode whose parameters ask for no gradient, with a `FusedVAB` for every VAB. Blocks whose
        channels are not multiples of 16 or for whose precision there is no kernel stay plain, and all do without a C
        compiler; the log says so.
    """
    return _fused(copy.deepcopy(network).eval().requires_grad_(False))


def _fused(module: nn.Module) -> nn.Module:
    if isinstance(module, VAB):
        d_atten, d_model = module.proj_1.weight.shape[:2]
        if kernel(module.proj_1.weight.dtype) is None:
            if _library() is not None:
                _say_once(f'Attention blocks in {module.proj_1.weight.dtype} are not fused on this processor.')
            return module
        if d_atten % BLOCK or d_model % BLOCK:
            _say_once(f'Attention blocks of {d_model} and {d_atten} channels are not fused: they are no multiples of {BLOCK}.')
            return module
        return FusedVAB(module)
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    return module
