"""Damaged files, some of each kind: a result or one sentence, soon and in little memory. `make fuzz` tries many more."""

from typing import Any

import pytest

from tests.fuzz.cases import Outcome
from tests.fuzz.exploring import KINDS, explore

CASES = 200


@pytest.mark.parametrize('kind', KINDS)
def test_damaged_files_end_well(kind: str) -> None:
    tried = set()

    def record(case: Any, outcome: Outcome) -> None:
        assert outcome.fault is None, outcome
        tried.add(outcome.kind)
    explore(kind, CASES, record)
    assert len(tried) > 1  # some are read all the same, and some are not


@pytest.mark.parametrize(('function', 'fault'), [
    ('raise KeyError("x")', 'KeyError'), ('bytearray(3 * 2**29)', ' MiB'), ('bytearray(2**34)', 'MemoryError'),
    ('time.process_time = lambda later=time.process_time() + 60: later', ' s')])
def test_the_fuzzers_see_faults(function: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from tests.fuzz.cases import taken
    monkeypatch.setattr(time, 'process_time', time.process_time)  # put back at the end
    assert fault in taken(lambda: exec(function, {'time': time}), 0).fault
