"""Runs a fuzzer, the same cases every time."""

import importlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.cases import Outcome

KINDS = ('checkpoints', 'images', 'options', 'stores')


def explore(kind: str, count: int, record: Callable[[Any, Outcome], None], started: Callable[[Any], None] = repr) -> None:
    """Tries so many cases.

    Args:
        kind: A module of this package, of `KINDS`: its `cases` gives a strategy, and its `run` tries a case.
        count: How many; the first are the same however many there are.
        record: Called with every case and its outcome. Where it raises an error, the case is reduced to a small one, and shown.
        started: Called with a case before it is tried.
    """
    module = importlib.import_module(f'tests.fuzz.{kind}')

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, print_blob=False,
              suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
    @given(module.cases())
    def tried(case: Any) -> None:
        started(case)
        record(case, module.run(case))
    tried()
