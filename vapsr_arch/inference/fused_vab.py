"""VapSR's attention blocks (VAB) in one pass over memory each, for enlarging images on a CPU.

Layer by layer, a block writes nine tensors of the image's size to memory and reads them back, which takes about as long as
the arithmetic itself. `fused_vab.c` keeps them in the processor's cache; it is compiled when it is first needed.
"""

import copy
import ctypes
import functools
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from vapsr_arch.archs import native
from vapsr_arch.archs.vapsr_arch import VAB

SOURCE = Path(__file__).with_name('fused_vab.c')
BLOCK = 16  # the C source works on channels by this many


@functools.cache
def _library() -> ctypes.CDLL | None:
    return native.load(SOURCE, 'The fused attention block')


@functools.cache
def _say_once(message: str) -> None:
    logging.getLogger('basicsr').info(message)


class FusedVAB(nn.Module):
    """A VAB whose forward pass on a CPU is a single pass over the image.

    It takes and gives what the VAB does, to float32's rounding, and may be called from several threads at once. Where the
    kernel cannot run, the VAB itself does: for tensors that are not float32 on the CPU, where a gradient is asked for, and
    under tracing, compiling and autocast.

    Args:
        vab: The block, with channels in multiples of 16; not copied. Its weights are taken as they are now.
    """

    def __init__(self, vab: VAB) -> None:
        super().__init__()
        self.vab = vab
        self.register_buffer('parameters_packed', _pack(vab), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block.

        Args:
            x: N x d_model x H x W, in any memory format.

        Returns:
            N x d_model x H x W, channels_last.
        """
        library = _library()
        d_atten, d_model = self.vab.proj_1.weight.shape[:2]
        plain = (library is None or torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled('cpu')
                 or (torch.is_grad_enabled() and x.requires_grad) or x.numel() == 0 or x.ndim != 4 or x.shape[1] != d_model
                 or any(t.device.type != 'cpu' or t.dtype != torch.float32 for t in (x, self.parameters_packed)))
        if not plain:
            x = x.contiguous(memory_format=torch.channels_last)
            out = torch.empty_like(x)
            batch, _, height, width = x.shape
            failed = library.fused_vab(
                *(ctypes.c_void_p(t.data_ptr()) for t in (x, out, self.parameters_packed)),
                *(ctypes.c_long(n) for n in (batch, height, width, d_model, d_atten)),
                ctypes.c_int(torch.get_num_threads()))
            if not failed:
                return out
        _say_once('The fused attention block is for float32 tensors on the CPU without gradients; torch\'s own layers run.')
        return self.vab(x)


def _pack(vab: VAB) -> Tensor:
    """The parameters in the order and the layout in which the C source reads them."""
    attention = vab.atten_branch
    layers = (vab.proj_1, attention.pointwise, attention.depthwise, attention.depthwise_dilated, vab.proj_2)
    parts = [part for layer in layers for part in (_blocked(layer.weight), layer.bias)]
    return torch.cat([part.detach().flatten() for part in (*parts, vab.pixel_norm.weight, vab.pixel_norm.bias)])


def _blocked(weight: Tensor) -> Tensor:
    """Output channels in blocks of 16: a 1x1 kernel as [block][input][16], a depthwise one as [block][tap][16]."""
    return weight.reshape(weight.shape[0] // BLOCK, BLOCK, -1).transpose(1, 2)


def fuse(network: nn.Module) -> nn.Module:
    """Copies a network for fast inference on a CPU.

    Args:
        network: VapSR, or any network with VABs in it; stays as it is.

    Returns:
        A copy in evaluation mode whose parameters ask for no gradient, with a `FusedVAB` for every VAB. Blocks whose
        channels are not multiples of 16 stay plain, and all do without a C compiler; the log says so.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    if _library() is None:
        return network
    return _fused(network)


def _fused(module: nn.Module) -> nn.Module:
    if isinstance(module, VAB):
        d_atten, d_model = module.proj_1.weight.shape[:2]
        if d_atten % BLOCK or d_model % BLOCK:
            _say_once(f'Attention blocks of {d_model} and {d_atten} channels are not fused: they are no multiples of {BLOCK}.')
            return module
        return FusedVAB(module)
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    return module
