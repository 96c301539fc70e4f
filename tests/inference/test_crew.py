"""Functions that run side by side share torch's threads, and leave their number as it was."""

import threading
from collections.abc import Iterator

import pytest
import torch

from vapsr_arch.inference.crew import Crew


@pytest.fixture
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def test_threads_are_dealt_out_evenly(eight_threads: None) -> None:
    assert [Crew().at_a_time(most) for most in (1, 2, 3, 4, 5, 7, 8, 100)] == [1, 2, 2, 4, 4, 4, 8, 8]


def test_each_function_has_its_share(eight_threads: None) -> None:
    seen: list[int] = []

    def work(meeting: threading.Barrier) -> None:
        meeting.wait(60)  # so that each has a thread of its own
        seen.append(torch.get_num_threads())
    with Crew() as crew:
        for count in (4, 2):
            meeting = threading.Barrier(count)
            for done in [crew.submit(count, work, meeting) for _ in range(count)]:
                done.result()
    assert seen == [2] * 4 + [4] * 2
    later: list[int] = []
    new = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert torch.get_num_threads() == 8 and later == [8]
