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
        torch.set_num_threads(self.threads)  # threads that are made later take the number that was set last, by any of them

    def submit(self, side_by_side: int, work: Callable[..., object], *arguments: object) -> Future:
        """Has a thread run a function, of which a number run at a time: it shares torch's threads with the others."""
        return self._pool.submit(self._run, max(1, self.threads // side_by_side), work, *arguments)

    @staticmethod
    def _run(threads: int, work: Callable[..., object], *arguments: object) -> object:
        torch.set_num_threads(threads)  # for operations of this thread
        return work(*arguments)
