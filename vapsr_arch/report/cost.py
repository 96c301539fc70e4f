"""What a network costs: parameters, multi-adds, activations, latency and peak memory.

Every function works on a copy in evaluation mode: the network it is given stays as it is. Input sizes are height and
width in pixels; the inputs have `network.num_in_ch` channels, or 3.
"""

import contextlib
import copy
import os
import pickle
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.float32 import use_exact_float32
from vapsr_arch.archs.common.operations import activations, multi_adds
from vapsr_arch.basicsr_imports import make_basicsr_importable
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import CLEAR_REFS, keep_freed_memory, peak_growth
from vapsr_arch.report.children import ending, run_child

__all__ = ['Latency', 'activations', 'answer', 'latency', 'multi_adds', 'num_parameters', 'peak_memory']

WARM_UP = 3  # forward passes before the clock starts


class Latency(NamedTuple):
    """How long one forward pass takes: the median in seconds, on what (threads or GPU), and of how many passes."""

    seconds: float
    device: str
    repeats: int


def num_parameters(network: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def latency(network: nn.Module, input_size: tuple[int, int] = (180, 320), device: str = 'cpu', repeats: int = 20,
            max_seconds: float = 60) -> Latency:
    """Times forward passes of one image, after a warm-up, and takes the median.

    On a CPU by the wall clock, with the threads torch is set to; on a GPU by CUDA events, without the transfer of the
    image. Weights and image are float32 and channels_last, as `VapSRModel` has them; freed memory is kept, and cuDNN chooses
    its algorithms by trial and without TF32, as in a test.

    Args:
        network: The network.
        input_size: Size of the input.
        device: A torch device.
        repeats: How many passes are timed.
        max_seconds: After this time no further pass begins, but one is always timed.
    """
    keep_freed_memory()
    network, image = _copy(network, input_size, device)
    on_gpu = image.is_cuda
    time_once = _gpu_seconds if on_gpu else _cpu_seconds
    stop = time.perf_counter() + max_seconds
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            network(image)
        while not times or (len(times) < repeats and time.perf_counter() < stop):
            times.append(time_once(network, image))
    where = torch.cuda.get_device_name(image.device) if on_gpu else f'CPU, {torch.get_num_threads()} threads'
    return Latency(statistics.median(times), where, len(times))


def _cpu_seconds(network: nn.Module, image: Tensor) -> float:
    start = time.perf_counter()
    network(image)
    return time.perf_counter() - start


def _gpu_seconds(network: nn.Module, image: Tensor) -> float:
    with torch.cuda.device(image.device):  # whose events and stream these are
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        network(image)
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1000


def peak_memory(network: nn.Module | Callable[[], nn.Module], input_size: tuple[int, int] = (180, 320),
                device: str = 'cpu') -> int | None:
    """The most memory that the weights, one image and its forward pass take at once, in bytes.

    On a GPU it is the peak of torch's CUDA allocator; on a CPU the growth of the resident memory of a fresh process, so
    that it is not hidden in memory that this one has already. Memory of the libraries themselves is not counted.

    Args:
        network: The network, or a function that builds it. For a CPU, what is given goes to the other process by pickle: a
            network's class must be importable, not of the script that runs; a function may import first what it needs.
        input_size: Size of the input.
        device: A torch device.

    Returns:
        Bytes, or None for a CPU where the system does not report a process's peak (Linux does).

    Raises:
        VapsrError: The process ended early, such as for want of memory.
    """
    if torch.device(device).type == 'cuda':
        network = _built(network)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        _forward_once(network, input_size, device)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not os.access(CLEAR_REFS, os.W_OK):
        return None
    child = run_child(f'from {__name__} import answer; answer()', given=pickle.dumps((network, input_size)))
    if child.returncode:
        raise VapsrError(f'the peak memory at {input_size[1]}x{input_size[0]} pixels could not be measured: {ending(child)}')
    return int(child.stdout)


def answer() -> None:
    """Measures what `peak_memory` hands this process, and prints it."""
    make_basicsr_importable()  # its networks are unpickled
    with contextlib.redirect_stdout(sys.stderr):  # what networks print as they are imported
        network, input_size = pickle.load(sys.stdin.buffer)
        growth = _cpu_growth(_built(network), input_size)
    print(growth)


def _cpu_growth(network: nn.Module, input_size: tuple[int, int]) -> int:
    """What `peak_memory` measures in its own process."""
    _forward_once(network, tuple(min(side, 32) for side in input_size), 'cpu')  # loads what is loaded once
    return peak_growth(lambda: _forward_once(network, input_size, 'cpu'))


def _built(network: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    return network if isinstance(network, nn.Module) else network()


def _forward_once(network: nn.Module, input_size: tuple[int, int], device: str) -> None:
    network, image = _copy(network, input_size, device)
    with torch.inference_mode():
        network(image)


def _copy(network: nn.Module, input_size: tuple[int, int], device: str) -> tuple[nn.Module, Tensor]:
    """A copy of the network on a device, in evaluation mode, and an image for it; torch is set as in a test."""
    use_exact_float32()
    torch.backends.cudnn.benchmark = True  # basicsr/test.py:15
    network = copy.deepcopy(network).eval().to(device, torch.float32, memory_format=torch.channels_last)
    image = torch.rand(1, getattr(network, 'num_in_ch', 3), *input_size, device=device)
    return network, image.contiguous(memory_format=torch.channels_last)

