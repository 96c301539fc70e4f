"""Where in the training data an iteration stands, so that a resumed run continues with the next image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochPlan:
    """A run's way through its epochs, from where it starts or resumes.

    Attributes:
        size: Samples of an epoch, over all processes.
        batch: Samples of an iteration, over all processes; an incomplete last batch is left out.
        iteration: Iterations done before the run.
        epoch: The epoch that it begins in.
        position: Samples of this epoch that are done before.
    """

    size: int
    batch: int
    iteration: int = 0
    epoch: int = 0
    position: int = 0

    @property
    def first(self) -> int:
        """Iterations in what is left of the epoch that the run begins in."""
        return max(0, self.size - self.position) // self.batch  # the data may have become less

    @property
    def whole(self) -> int:
        """Iterations in each epoch after it."""
        return self.size // self.batch

    def last_epoch(self, total_iter: int) -> int:
        """The epoch in which `total_iter` iterations are done."""
        return self.epoch + max(0, -(-(total_iter - self.iteration - self.first) // self.whole))

    def after(self, iteration: int) -> tuple[int, int]:
        """The epoch of an iteration, and how many of its samples are done after the iteration."""
        done = iteration - self.iteration
        if done <= self.first:
            return self.epoch, self.position + done * self.batch
        epochs, done = divmod(done - self.first - 1, self.whole)
        return self.epoch + 1 + epochs, (done + 1) * self.batch
