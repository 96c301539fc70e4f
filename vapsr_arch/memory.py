"""Memory: how the C library keeps that of activations, how much is free, and which errors say that there is not enough."""

import contextlib
import ctypes
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from vapsr_arch.errors import VapsrError

CLEAR_REFS = Path('/proc/self/clear_refs')
_ALWAYS_THERE = 2**26  # bytes

# malloc.h of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_OWN_PAGES = 2**16  # bytes from which memory comes from the kernel and goes back to it, while a peak is measured
# From how many bytes on memory comes from the kernel, and what is free at the end of the heap goes back to it: what glibc itself
# arrives at with the first large activations; and what `keep_freed_memory` sets, the most that it takes, and never.
_BY_ITSELF = (2**25, 2**26)
_KEPT = (2**31 - 1, -1)
_usual = _BY_ITSELF

# What torch, CUDA, cuDNN, cuBLAS, Triton, OpenVINO and ONNX Runtime say, in lower case.
_OUT_OF_MEMORY = (
    'out of memory',  # torch.OutOfMemoryError, 'CUDA error: out of memory', 'MPS backend out of memory', 'hipErrorOutOfMemory'
    'erroroutofmemory',
    "can't allocate memory",  # torch's DefaultCPUAllocator
    'cannot allocate memory',  # errno ENOMEM, oneDNN through OpenVINO
    'failed to allocate memory',  # ONNX Runtime's arena
    'could not allocate memory',
    'not enough memory',  # DefaultCPUAllocator on Windows
    'cudnn_status_alloc_failed', 'cudnn_status_internal_error_host_allocation_failed',
    'cublas_status_alloc_failed', 'cusolver_status_alloc_failed', 'cufft_alloc_failed',
    'std::bad_alloc', 'bad allocation',  # what C++ raises, by whichever library
)


def keep_freed_memory() -> None:
    """Has glibc keep the memory of freed activations for the next layer.

    Else what is above a threshold, of 32 MiB at most, goes back to the kernel with every layer of a network on a CPU, and
    comes again page by page, each cleared first. Other C libraries are left alone.
    """
    global _usual
    _usual = _KEPT
    _set_thresholds(*_usual)


def _set_thresholds(mapped: int, trimmed: int) -> None:
    if libc := glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, mapped)
        libc.mallopt(_M_TRIM_THRESHOLD, trimmed)


def give_back_freed_memory() -> None:
    """Has glibc give all memory that it keeps back to the kernel."""
    if libc := glibc():
        libc.malloc_trim(0)


@functools.cache
def glibc() -> ctypes.CDLL | None:
    """This process's C library, if it is glibc."""
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
    return libc if hasattr(libc, 'gnu_get_libc_version') else None


def peak_growth(run: Callable[[], object]) -> int | None:
    """Runs something, and measures by how many bytes this process's memory grew at its peak.

    Freed memory that the C library kept is given back first: else what lies in it would not count. Meanwhile large pieces come
    from the kernel and go back to it: with what lies between those in use, the same network took 48 to 71 MB in place of 40. What
    other threads take counts.

    Returns:
        The bytes; None where the system does not report them, and nothing was run.
    """
    if not os.access(CLEAR_REFS, os.W_OK):
        return None
    give_back_freed_memory()
    CLEAR_REFS.write_text('5')  # sets the peak, VmHWM, to the present, VmRSS: proc(5)
    before = _status_bytes('VmRSS')
    _set_thresholds(_OWN_PAGES, _OWN_PAGES)
    try:
        run()
    finally:
        _set_thresholds(*_usual)
    return max(0, _status_bytes('VmHWM') - before)


def _status_bytes(key: str) -> int:
    """An entry of this process's status on Linux in bytes, such as `VmRSS`, its memory, or `VmHWM`, the most it had: proc(5)."""
    return 1024 * int(re.search(rf'^{key}:\s+(\d+)', Path('/proc/self/status').read_text(), re.MULTILINE)[1])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a CPU or a GPU has not enough memory, whoever raised it."""
    if isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':  # torch's: torch is not imported here
        return True
    message = str(error).lower()
    return not isinstance(error, VapsrError) and any(words in message for words in _OUT_OF_MEMORY)


def is_of_a_gpu(error: BaseException) -> bool:
    """Whether an error of `is_out_of_memory` is about a GPU's memory."""
    message = str(error).lower()
    return type(error).__name__ == 'OutOfMemoryError' or any(
        words in message for words in ('cuda', 'cudnn', 'cublas', 'cusolver', 'cufft', 'hip', 'mps backend'))


def available_memory() -> int:
    """Bytes that this process may still take: what the system has free, or its control group, whichever is less.

    Pages of files, which the kernel gives up when memory is wanted, count as free.
    """
    found = [sys.maxsize]
    group = Path('/sys/fs/cgroup')
    for limit, used, stat, cache in (
            ('memory.max', 'memory.current', 'memory.stat', 'file'),
            ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes', 'memory/memory.stat', 'total_cache')):
        try:
            cached = re.search(rf'^{cache} (\d+)', (group / stat).read_text(), re.MULTILINE)
            found.append(int((group / limit).read_text()) - int((group / used).read_text()) + int(cached[1] if cached else 0))
        except (OSError, ValueError):  # no such group, or no limit
            continue
    with contextlib.suppress(OSError, TypeError):  # where the system is not Linux
        found.append(1024 * int(re.search(r'MemAvailable:\s+(\d+)', Path('/proc/meminfo').read_text())[1]))
    return max(0, min(found))


def check_memory(height: int, width: int, bytes_a_pixel: int, name: str | os.PathLike, advice: str = '') -> None:
    """Compares what an image needs with the memory that is free.

    Args:
        height: Its height in pixels.
        width: Its width.
        bytes_a_pixel: What each of them needs.
        name: What an error calls the image.
        advice: What an error ends with.

    Raises:
        VapsrError: It needs more.
    """
    needed = height * width * bytes_a_pixel
    if needed > _ALWAYS_THERE and needed > (free := available_memory()):
        raise VapsrError(f'{name}: {width}x{height} pixels need {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB '
                         f'are free{advice}')
