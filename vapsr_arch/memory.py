"""The memory of activations on a CPU, and how much memory is free."""

import contextlib
import ctypes
import re
import sys
from pathlib import Path

# malloc.h of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Has glibc keep the memory of freed activations for the next layer.

    Else what is above a threshold, of 32 MiB at most, goes back to the kernel with every layer of a network on a CPU, and
    comes again page by page, each cleared first. Other C libraries are left alone.
    """
    if sys.platform != 'linux':
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'gnu_get_libc_version'):
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


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
