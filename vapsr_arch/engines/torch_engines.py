"""Engines of torch: as it is, but for VapSR's attention, and compiled."""

import copy
import importlib.util
import sys
import threading

import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.checks import check_input
from vapsr_arch.archs.common.float32 import use_exact_float32
from vapsr_arch.archs.vapsr_arch import VAB, Attention
from vapsr_arch.engines.banded_upsampler import band_upsampler
from vapsr_arch.engines.forms import Form, first_sound, trial
from vapsr_arch.engines.fused_vab import fuse
from vapsr_arch.engines.triton_attention import fuse_attention
from vapsr_arch.errors import VapsrError

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class _Placed:
    """A network on a device and in a precision that takes float32 from anywhere, and gives float32 on the device."""

    def __init__(self, network: nn.Module, device: str, precision: str) -> None:
        self.network, self.device, self.dtype = network, torch.device(device), DTYPES[precision]

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.device, self.dtype, memory_format=torch.channels_last)
        return self.network(x).to(torch.float32)  # in channels_last: images are made from it in this layout


class TorchEngine:
    """A network of torch, in channels_last. VapSR's attention blocks are fused: on a CPU in C, and on a GPU with Triton. On a
    CPU its upsampler takes some rows at a time.

    Any form but torch's plain layers in float32 on the CPU must first give the same result for a small image. One that does not
    is replaced, with a warning, by a plainer form: without fused blocks, then in float32.

    Args:
        network: The network on the CPU in float32, with what `weights.described` gives it; the engine takes it over.
        device: `cpu`, `cuda` or `mps`.
        precision: One of `DTYPES`. Weights and features have it; input and output are float32.
        or_cpu: Whether the CPU is used if the device does not work.

    Attributes:
        device: Where the network and its results are.
        dtype: What it computes in.

    Raises:
        VapsrError: The network does not work on the device.
    """

    def __init__(self, network: nn.Module, device: str, precision: str, or_cpu: bool = False) -> None:
        if device == 'cuda':
            use_exact_float32()
        self.scale, self.num_in_ch = network.scale, network.num_in_ch
        self.min_size, self.halo = network.min_size, network.halo
        self.tiles = getattr(network, 'tiles', True)
        self.name = type(network).__name__
        network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        forms = self._forms(network, device, precision)
        if or_cpu and device != 'cpu':
            forms += self._forms(network, 'cpu', 'fp32')
        self.run = forms[0].make() if len(forms) == 1 and device == 'cpu' else first_sound(forms, *trial(network))
        self.device, self.dtype = self.run.device, self.run.dtype
        # Layers of someone else may keep something in themselves while they compute, which other threads would change.
        own = all(type(module).__module__.startswith(('vapsr_arch.', 'torch.nn.')) for module in network.modules())
        self.side_by_side = own and self.device.type == 'cpu'

    def _forms(self, network: nn.Module, device: str, precision: str) -> list[Form]:
        """The forms on a device, the fastest first; each is a `_Placed`."""
        def moved(precision: str) -> nn.Module:
            if (device, precision) == ('cpu', 'fp32'):
                return network
            return copy.deepcopy(network).to(device, DTYPES[precision], memory_format=torch.channels_last)

        where = {'cpu': 'the CPU', 'cuda': 'the GPU', 'mps': 'the GPU (MPS)'}[device]
        blocks = {type(module) for module in network.modules()}
        forms = []
        if device == 'cpu' and VAB in blocks:
            forms.append(Form(f'the fused attention block in {precision} on {where}', precision,
                              lambda: _Placed(band_upsampler(fuse(moved(precision))), device, precision)))
        if device == 'cuda' and Attention in blocks and importlib.util.find_spec('triton'):
            forms.append(Form(f'the Triton kernel in {precision} on {where}', precision,
                              lambda: _Placed(fuse_attention(moved(precision)), device, precision)))
        for plain in dict.fromkeys((precision, 'fp32')):
            forms.append(Form(f'torch in {plain} on {where}', plain,
                              lambda plain=plain: _Placed(moved(plain), device, plain)))
        return forms

    def __call__(self, x: Tensor) -> Tensor:
        check_input(self.name, x, self.num_in_ch, self.min_size)
        with torch.inference_mode():
            return self.run(x)


class CompiledEngine(TorchEngine):
    """A network that inductor has compiled, with its weights as constants, and where that fails, a `TorchEngine`.

    Args:
        network: The network; the engine takes it over.
        device: `cpu`, `cuda` or `mps`.
        precision: As for `TorchEngine`.
        or_cpu: As for `TorchEngine`.

    Raises:
        VapsrError: There is no C++ compiler, or the network does not work on the device.
    """

    def __init__(self, network: nn.Module, device: str, precision: str, or_cpu: bool = False) -> None:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise VapsrError('the engine compile needs a C++ compiler: install g++ or clang++, name it in CXX, or choose the '
                             'engine torch') from None
        self.lock = threading.Lock()  # several threads would each compile for other sizes
        super().__init__(network, device, precision, or_cpu)
        self.side_by_side = False

    def _forms(self, network: nn.Module, device: str, precision: str) -> list[Form]:
        plainer = super()._forms(network, device, precision)

        def compiled() -> _Placed:
            print('Compiling: this may take minutes, and so may the first batch.', file=sys.stderr)
            placed = plainer[0].make() if device == 'cpu' else _Placed(
                copy.deepcopy(network).to(device, DTYPES[precision], memory_format=torch.channels_last), device, precision)
            # Freezing folds constants and lets oneDNN reorder the weights once; it wants gradients off, which they are. Dynamic
            # sizes are compiled once: tiles at the edges, and images, come in many.
            placed.network = torch.compile(placed.network, dynamic=True, fullgraph=True, options={'freezing': True})
            return placed

        return [Form(f'the compiled network in {precision}', precision, compiled), *plainer]

    def __call__(self, x: Tensor) -> Tensor:
        with self.lock:
            return super().__call__(x)
