"""The memory of activations on a CPU."""

import ctypes
import sys

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
