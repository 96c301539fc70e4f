"""EpochPlan against the loop it describes."""

import pytest

from vapsr_arch.data.epochs import EpochPlan


@pytest.mark.parametrize('size, batch', [(12, 3), (10, 3), (3, 3), (7, 2)])
@pytest.mark.parametrize('start', [0, 1, 3, 4, 9])
def test_where_each_iteration_stands(size: int, batch: int, start: int) -> None:
    """A run that resumes after `start` iterations draws what one that did not would."""
    total = 13
    undisturbed = [(epoch, last) for epoch in range(total) for last in range(batch, size + 1, batch)][:total]
    epoch, position = ([(0, 0)] + undisturbed)[start]
    plan = EpochPlan(size, batch, start, epoch, position)
    assert [plan.after(iteration) for iteration in range(start + 1, total + 1)] == undisturbed[start:]
    assert plan.after(start) == (epoch, position)
    assert plan.last_epoch(total) == undisturbed[-1][0]


def test_a_batch_of_another_size_continues_within_the_epoch() -> None:
    plan = EpochPlan(size=10, batch=4, iteration=1, epoch=0, position=3)
    assert [plan.after(iteration) for iteration in (1, 2, 3, 4)] == [(0, 3), (0, 7), (1, 4), (1, 8)]
    assert EpochPlan(size=10, batch=4, iteration=1, epoch=0, position=9).after(2) == (1, 4)


def test_less_data_than_before() -> None:
    plan = EpochPlan(size=4, batch=2, iteration=7, epoch=3, position=14)
    assert [plan.after(iteration) for iteration in (8, 9, 10)] == [(4, 2), (4, 4), (5, 2)]
    assert plan.last_epoch(10) == 5
