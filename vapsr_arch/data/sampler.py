"""The order of training images, and a seed for the random numbers of each sample."""

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import Dataset

from vapsr_arch.data.from_basicsr import EnlargedSampler


class SeededIndex(int):
    """An index of a data set with the seed of its sample: crops, flips and rotations follow from it alone.

    It is an int to every data set; those of this package draw from `random.Random(index.seed)`. That it travels with the
    index makes samples the same with any number of workers, which may live for one epoch or for all.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        value = super().__new__(cls, index)
        value.seed = seed
        return value

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed)


def seed_from(*values: int) -> int:
    """A seed of 63 bits from some integers, without relation to the seeds from others."""
    digest = hashlib.blake2b(' '.join(map(str, values)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') >> 1


class SeededSampler(EnlargedSampler):
    """EnlargedSampler whose order depends on the seed too, with a seed for each sample.

    basicsr/data/data_sampler.py:32 seeds the order with the epoch alone. N processes with batches of B draw together what
    one process draws with batches of N x B.

    Args:
        dataset: The data set.
        num_replicas: Processes that train together; each gets its part of every epoch.
        rank: This one of them.
        ratio: How many times an epoch goes through the data set.
        seed: `manual_seed`, the same in all processes.
    """

    def __init__(self, dataset: Dataset, num_replicas: int, rank: int, ratio: int, seed: int) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.seed = seed
        # Not rounded up, as in EnlargedSampler: the order would depend on the number of processes.
        self.total_size = len(dataset) * ratio
        self.num_samples = self.total_size // num_replicas
        self._first_epoch = self._position = 0

    def begin_at(self, epoch: int, position: int) -> None:
        """Leaves out the samples of an epoch that are done: `position` of them, over all processes."""
        self._first_epoch, self._position = epoch, position

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch, size = self.epoch, len(self.dataset)
        generator = torch.Generator().manual_seed(seed_from(self.seed, epoch))
        order = torch.randperm(self.total_size, generator=generator).tolist()
        order = order[self._position if epoch == self._first_epoch else 0:self.num_samples * self.num_replicas]
        own = order[self.rank:len(order) // self.num_replicas * self.num_replicas:self.num_replicas]
        # Not the index but its place in the repeated set: an image that comes again in an epoch is cropped elsewhere.
        return (SeededIndex(place % size, seed_from(self.seed, epoch, place)) for place in own)
