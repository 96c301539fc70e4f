"""Out of memory, told in a sentence."""

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
