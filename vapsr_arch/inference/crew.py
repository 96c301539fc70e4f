"""Threads that compute side by side, each with its share of torch's threads."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch


class Crew:
    """Runs functions side by side; a context, which ends when they have.

    Attributes:
        threads: How many torch uses for an operation of the thread that made the crew.
    """

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()
        # torch sets a thread's number when it first asks for it: before this does.
        self._pool = ThreadPoolExecutor(self.threads, initializer=torch.get_num_threads)

    def __enter__(self) -> 'Crew':
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self.threads)  # for the threads that are made after it

    def at_a_time(self, most: int) -> int:
        """How many functions are run at a time, such that torch's threads are dealt out evenly: no more than some number."""
        return next(count for count in range(min(most, self.threads), 0, -1) if self.threads % count == 0)

    def submit(self, at_a_time: int, work: Callable[..., object], *arguments: object) -> Future:
        """Has a thread run a function, with its share of torch's threads: as many functions as are given are to run at a time."""
        return self._pool.submit(self._run, self.threads // at_a_time, work, *arguments)

    @staticmethod
    def _run(threads: int, work: Callable[..., object], *arguments: object) -> object:
        torch.set_num_threads(threads)  # of this thread, and of those that are made after it
        return work(*arguments)
