"""How large tiles may be on a CUDA GPU: what one takes of its memory is measured, with its halo."""

from collections.abc import Callable
from typing import NamedTuple

import torch

FIRST_TILE = 128  # pixels of a side of the tile that is measured, without its halo
_LARGEST = 1024  # of larger ones no GPU gains
_SHARE = 0.5  # of the free memory: the allocator cuts it into pieces, and other programs may want some


class Use(NamedTuple):
    """Bytes that a run took at its peak, and that were free for it."""

    taken: int
    free: int


def measured(run: Callable[[], object], device: torch.device) -> Use:
    """Runs something on a GPU, and measures its memory.

    Args:
        run: What to run. What other threads take meanwhile is counted as its own.
        device: The GPU.
    """
    before = torch.cuda.memory_allocated(device)
    # What torch's allocator keeps is free for the next run, too.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return Use(torch.cuda.max_memory_allocated(device) - before, free)


def fitting_tile(use: Use, area: int, halo: int, smallest: int) -> int:
    """The largest tile whose window, the tile with its halo, fits into the free memory.

    Args:
        use: What a window took.
        area: Its pixels.
        halo: Pixels around a tile.
        smallest: What is tried in any case, in pixels of a side.
    """
    side = int((use.free * _SHARE * area / max(use.taken, 1)) ** 0.5)
    return max(smallest, min(_LARGEST, side) - 2 * halo)
