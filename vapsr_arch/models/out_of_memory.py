"""Out of memory, and what comes of it, told in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vapsr_arch.errors import VapsrError


@contextmanager
def memory_explained(what: str, remedy: str) -> Iterator[None]:
    """Turns torch's errors of a GPU or a CPU without memory into a sentence.

    Args:
        what: What was being done.
        remedy: What to do about it.

    Raises:
        VapsrError: There was not enough memory.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            device = 'the GPU'
        elif "DefaultCPUAllocator: can't allocate memory" in str(error):
            device = 'the machine'
        else:
            raise
        raise VapsrError(f'{device} has not enough memory for {what}: {remedy}') from None


@contextmanager
def killed_workers_explained() -> Iterator[None]:
    """Turns torch's error of a DataLoader worker that has died into a sentence.

    Raises:
        VapsrError: One has died.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith('DataLoader worker'):
            raise
        raise VapsrError(f'a process that reads images was killed, for want of memory perhaps ({error}): lower '
                         f'num_worker_per_gpu; --auto_resume goes on from the newest state') from None
