"""How the training loop gets its batches: one class for CPUs, one that copies the next batch to the GPU meanwhile."""

from typing import Any

import torch
from torch.utils.data import DataLoader


class Prefetcher:
    """The batches of a loader, epoch after epoch.

    basicsr/data/prefetch_dataloader.py:69 and :98 also begin an epoch when they are built: the workers start twice, and
    their first batches are thrown away.

    Args:
        loader: The loader.
        opt: BasicSR's options, which it gives to `CUDAPrefetcher` alone.
    """

    def __init__(self, loader: DataLoader, opt: dict[str, Any] | None = None) -> None:
        self.loader = loader

    def reset(self) -> None:
        """Begins an epoch."""
        self.batches = iter(self.loader)

    def next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end of the epoch."""
        return next(self.batches, None)


class CUDAPrefetcher(Prefetcher):
    """Copies the next batch to the GPU, in a stream of its own, while this one is worked on; for pinned memory.

    basicsr/data/prefetch_dataloader.py:118 does not let the allocator know that the batch is used in another stream, so that
    its memory may be written to while it is read.
    """

    def __init__(self, loader: DataLoader, opt: dict[str, Any] | None = None) -> None:
        super().__init__(loader)
        self.stream = torch.cuda.Stream()

    def reset(self) -> None:
        super().reset()
        self._copy_next()

    def next(self) -> dict[str, Any] | None:
        batch, current = self.ahead, torch.cuda.current_stream()
        current.wait_stream(self.stream)
        if batch is not None:
            for value in batch.values():
                if torch.is_tensor(value):
                    value.record_stream(current)
            self._copy_next()
        return batch

    def _copy_next(self) -> None:
        batch = super().next()
        with torch.cuda.stream(self.stream):
            self.ahead = batch and {key: value.cuda(non_blocking=True) if torch.is_tensor(value) else value
                                    for key, value in batch.items()}
