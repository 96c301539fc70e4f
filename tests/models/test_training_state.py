"""Random states, and the options of a run compared with those of another."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.training_helpers import state_of_a_run
from vapsr_arch.models.run_files import from_bytes, to_bytes
from vapsr_arch.models.training_state import (
    be_deterministic,
    changed_options,
    changes_losses,
    fault_of_state,
    is_schedule,
    random_state,
    set_random_state,
)


def draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_random_states_go_through_a_file() -> None:
    np.random.randn()  # of the two that are drawn at once, one is kept
    state = from_bytes(to_bytes(random_state([])))
    expected = draw(), np.random.randn()
    set_random_state(state, [])
    assert (draw(), np.random.randn()) == expected


@pytest.mark.gpu
def test_random_states_of_a_gpu() -> None:
    state = from_bytes(to_bytes(random_state([0])))
    expected = torch.rand(1, device='cuda')
    set_random_state(state, [0])
    assert torch.equal(torch.rand(1, device='cuda'), expected)


def test_changes_are_named() -> None:
    before = {'scale': 2, 'train.optim_g.lr': 1e-3, 'train.warmup_iter': 5}
    now = {'scale': 2, 'train.optim_g.lr': 5e-4, 'train.amp': 'bf16'}
    changes = changed_options(before, now)
    assert changes == ['train.optim_g.lr: 0.001 -> 0.0005', 'train.warmup_iter: 5 -> not set', 'train.amp: not set -> bf16']
    assert [is_schedule(change) for change in changes] == [True, True, False]
    assert changed_options(now, now) == []
    changes = changed_options(before | {'train.total_iter': 5}, before | {'train.total_iter': 6})
    assert changes == ['train.total_iter: 5 -> 6'] and not is_schedule(changes[0]) and not changes_losses(changes[0])
    assert changed_options(before, before | {'train.total_iter': 6}) == []  # of a state that does not say it


def test_deterministic_algorithms_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', True)
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    try:
        be_deterministic()
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(('changes', 'section'), [
    *(({key: None}, key) for key in ('iter', 'epoch', 'optimizers', 'schedulers', 'random', 'scaler', 'options', 'good_iter')),
    ({'iter': 'x'}, 'iter'), ({'iter': -1}, 'iter'), ({'iter': True}, 'iter'), ({'optimizers': {}}, 'optimizers'),
    ({'optimizers': [{'state': {7: {}}, 'param_groups': [{'params': [0]}]}]}, 'optimizers'),
    ({'schedulers': [3]}, 'schedulers'), ({'random': [{'python': 1}]}, 'random'), ({'guard': {'losses': []}}, 'guard'),
    ({'best_metrics': {'set': 1}}, 'best_metrics'), ({'networks': {'d': 1}}, 'networks')])
def test_a_section_that_is_missing_or_of_another_kind_is_named(changes: dict[str, Any], section: str) -> None:
    assert fault_of_state(state_of_a_run()) is None
    assert section in fault_of_state(state_of_a_run(**changes))


def test_what_is_no_state_is_reported() -> None:
    assert fault_of_state([1]) == 'it has no sections'
