"""How large the windows may be that a network sees, tiles with their halo: what one takes of the memory is measured."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from vapsr_arch.memory import available_memory, peak_growth

MEASURED = 224  # pixels of a side of the window that is measured
# Sides of windows, if square, that are tried without measuring: on a CPU, and where it is not known what a window takes.
UNMEASURED = {'cuda': MEASURED, 'cpu': 480, 'mps': 480}
# Side of the largest window, if square: of a 12-megapixel image, the halos add 5% of pixels with it, and 18% with half of it.
_LARGEST = 2048
_SHARE = 0.5  # of the free memory: allocators cut it into pieces, and the images and other programs want some
# Bytes of its memory: more saves a few per cent of the time, and other programs want it. The C library takes up to 1.6 times as
# much, for what lies between the pieces in use.
_MOST_OF_A_CPU = 3 * 2**29
_STEP = 64  # in which sides go down, so that what else happens on the machine rarely changes them


class Use(NamedTuple):
    """Bytes that a run took at its peak, and that were free for it."""

    taken: int
    free: int


def measured(run: Callable[[], object], device: torch.device) -> Use | None:
    """Runs something, and measures its memory: that of a GPU, or of this process. What other threads take counts.

    Args:
        run: What to run; it ran before, on something small, so that what is loaded once does not count.
        device: Where it computes.

    Returns:
        The bytes; None where the system does not report them.
    """
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        # What torch's allocator keeps is free for the next run, too.
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return Use(torch.cuda.max_memory_allocated(device) - before, free)
    free = available_memory()
    taken = peak_growth(run) if device.type == 'cpu' else None
    return None if taken is None else Use(taken, free)


def fitting_window(use: Use, area: int, device: torch.device) -> int:
    """The side of the largest square window that takes no more than half of the free memory, and 1.5 GiB of a CPU's.

    Args:
        use: What a window took.
        area: Its pixels.
        device: Where.
    """
    share = use.free * _SHARE
    allowed = min(share, _MOST_OF_A_CPU) if device.type == 'cpu' else share
    side = int((allowed * area / max(use.taken, 1)) ** 0.5)
    return min(_LARGEST, side // _STEP * _STEP or side)
