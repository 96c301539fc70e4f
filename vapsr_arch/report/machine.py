"""Which machine and which versions figures were measured with."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from vapsr_arch import __version__


def _cpu() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.machine()


def counted(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f'{count} {noun}{"" if count == 1 else "s"}'


def processor(machine: Mapping[str, str | int]) -> str:
    """What computed, of `describe_machine`: the GPU, or the CPU with the instructions that torch used."""
    return f'{machine["device"]} ({machine["instructions"]})' if machine['instructions'] else str(machine['device'])


def describe_machine(device: str) -> dict[str, str | int]:
    """What a reader needs to place a figure: device, the CPU instructions that torch uses, threads, versions.

    Args:
        device: `cpu` or `cuda`.

    Returns:
        Plain values by name, for a JSON file or a caption.
    """
    return {
        'device': torch.cuda.get_device_name() if device == 'cuda' else _cpu(),
        'instructions': '' if device == 'cuda' else torch.backends.cpu.get_cpu_capability(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1,
        'threads': torch.get_num_threads(),
        'system': platform.platform(),
        'python': platform.python_version(),
        'vapsr_arch': __version__,
        'torch': torch.__version__,
        'basicsr': version('basicsr'),
        'opencv-python': version('opencv-python'),
        'numpy': version('numpy'),
    }
