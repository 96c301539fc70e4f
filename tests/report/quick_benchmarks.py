"""Benchmarks for tests: of processes that start at once, and of few forward passes."""

import functools

import pytest

from tests.forked import run_forked
from vapsr_arch.report import cost, network_test


def benchmark_quickly(patch: pytest.MonkeyPatch) -> None:
    """Has tests and measurements of memory start at once, and times one forward pass."""
    for module in (network_test, cost):
        patch.setattr(module, 'run_child', run_forked)
    patch.setattr(cost, 'latency', functools.partial(cost.latency, repeats=1))
