"""Engines of torch: as it is, but for VapSR's attention, and compiled."""

import functools
import sys
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.checks import check_input
from vapsr_arch.engines.fused_vab import fuse
from vapsr_arch.engines.triton_attention import fuse_attention
from vapsr_arch.errors import VapsrError

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
GRAPHS = 4  # shapes whose CUDA graph is kept: whole tiles and those of the right, the lower edge and the corner


class TorchEngine:
    """A network of torch, in channels_last. VapSR's attention blocks are fused: on a CPU in C, and on a GPU with Triton.

    On a GPU the kernels of this package's networks are launched as one CUDA graph a shape.

    Args:
        network: The network, with what `weights.described` gives it; the engine takes it over.
        device: `cpu` or `cuda`.
        precision: One of `DTYPES`. Weights and features have it; input and output are float32.
    """

    def __init__(self, network: nn.Module, device: str, precision: str) -> None:
        self.scale, self.num_in_ch = network.scale, network.num_in_ch
        self.min_size, self.halo = network.min_size, network.halo
        self.tiles = getattr(network, 'tiles', True)
        self.device, self.dtype = torch.device(device), DTYPES[precision]
        self.network = network.eval().requires_grad_(False).to(self.device, self.dtype, memory_format=torch.channels_last)
        self.forward = self.prepare()

    def prepare(self) -> Callable[[Tensor], Tensor]:
        """What runs the network, from its input to its output on the device."""
        if self.device.type == 'cuda':
            network = fuse_attention(self.network)
            # Networks of others may copy from the CPU as they run, which cannot be recorded.
            return _CudaGraphs(network) if isinstance(self.network, tuple(NETWORKS.values())) else network
        return fuse(self.network)

    def __call__(self, x: Tensor) -> Tensor:
        check_input(type(self.network).__name__, x, self.num_in_ch, self.min_size)
        with torch.inference_mode():
            x = x.to(self.device, self.dtype, memory_format=torch.channels_last)
            return self.forward(x).to('cpu', torch.float32, memory_format=torch.contiguous_format)


class _CudaGraphs:
    """A network on a GPU as recorded CUDA graphs, which spare the launches of its many small kernels."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.lock = threading.Lock()  # a graph has one input and one output, in fixed memory
        self.graph = functools.lru_cache(GRAPHS)(self._record)

    def _record(self, shape: torch.Size, dtype: torch.dtype) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        x = torch.zeros(shape, dtype=dtype, device='cuda').contiguous(memory_format=torch.channels_last)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # cuDNN chooses its kernels before the recording
            for _ in range(3):
                self.network(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = self.network(x)
        return graph, x, y

    def __call__(self, x: Tensor) -> Tensor:
        with self.lock:
            graph, graph_x, graph_y = self.graph(x.shape, x.dtype)
            graph_x.copy_(x)
            graph.replay()
            return graph_y.clone()


class CompiledEngine(TorchEngine):
    """A network that inductor has compiled, with its weights as constants. The first images wait for the compiler.

    Args:
        network: The network; the engine takes it over.
        device: `cpu` or `cuda`.
        precision: As for `TorchEngine`.

    Raises:
        VapsrError: There is no C++ compiler.
    """

    def __init__(self, network: nn.Module, device: str, precision: str) -> None:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise VapsrError('the engine compile needs a C++ compiler: install g++ or clang++, name it in CXX, or choose the '
                             'engine torch') from None
        super().__init__(network, device, precision)
        self.lock = threading.Lock()  # several threads would each compile
        self.compiled = False

    def prepare(self) -> Callable[[Tensor], Tensor]:
        # Freezing folds constants and lets oneDNN reorder the weights once; it wants gradients off, which they are. Dynamic
        # sizes are compiled once: tiles at the edges, and pictures, come in many.
        network = fuse(self.network) if self.device.type == 'cpu' else self.network
        return torch.compile(network, dynamic=True, fullgraph=True, options={'freezing': True})

    def __call__(self, x: Tensor) -> Tensor:
        with self.lock:
            if not self.compiled:
                print('Compiling: the first image may take minutes, and so may the first batch.', file=sys.stderr)
                self.compiled = True
            return super().__call__(x)
