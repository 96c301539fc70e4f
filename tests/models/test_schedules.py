"""Optimizers and schedules of torch in training: stopped and resumed to the same bytes, rolled back, refused where unfit."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from tests.conftest import Finished
from tests.models.training_helpers import at_iterations, network, signal_at
from vapsr_arch.models.schedules import (
    known_optimizers,
    known_schedulers,
    load_optimizer_state,
    load_rates,
    make_optimizer,
    make_scheduler,
    scale_rates,
    take_step,
)

SCHEDULES = {
    'OneCycleLR': {'max_lr': 1e-2, 'total_steps': 12}, 'CosineAnnealingLR': {'T_max': 12}, 'LinearLR': {'total_iters': 5},
    'StepLR': {'step_size': 2, 'gamma': 0.5},
    'CyclicLR': {'base_lr': 1e-3, 'max_lr': 1e-2, 'step_size_up': 3, 'cycle_momentum': False},
    'CosineAnnealingWarmRestarts': {'T_0': 5}, 'PolynomialLR': {'total_iters': 12}, 'ExponentialLR': {'gamma': 0.9},
    'ConstantLR': {}, 'MultiStepLR': {'milestones': [3]}, 'MultiStepRestartLR': {'milestones': [3]},
    'CosineAnnealingRestartLR': {'periods': [12]}}
OPTIMIZERS = {name: {'lr': 1e-2} for name in known_optimizers()} | {
    'SGD': {'lr': 1e-2, 'momentum': 0.9, 'nesterov': True}, 'RMSprop': {'lr': 1e-3, 'momentum': 0.9, 'centered': True}}


class Training:
    """Two convolutions that learn to answer zero."""

    def __init__(self, optimizer: str = 'SGD', schedule: str = 'StepLR') -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3))
        self.optimizer = make_optimizer(optimizer, list(self.net.parameters()), **OPTIMIZERS[optimizer])
        self.scheduler = make_scheduler(schedule, self.optimizer, **SCHEDULES[schedule])

    def run(self, first: int, last: int, bad: bool = False) -> 'Training':
        for number in range(first, last + 1):
            if number > 1:
                self.scheduler.step()
            self.optimizer.zero_grad()
            image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(number))
            self.net(image).square().mean().backward()
            take_step(self.optimizer, torch.tensor(float(bad)))
        return self

    def weights(self) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.net.parameters()])


def rate(training: Training) -> float:
    return training.optimizer.param_groups[0]['lr']


@pytest.mark.filterwarnings('ignore:Detected call of')
@pytest.mark.parametrize('optimizer, schedule', [
    *((name, 'StepLR') for name in OPTIMIZERS), *(('SGD', name) for name in SCHEDULES)])
def test_state_is_put_back_exactly(optimizer: str, schedule: str) -> None:
    half = Training(optimizer, schedule).run(1, 5)
    other = Training(optimizer, schedule)
    other.net.load_state_dict(half.net.state_dict())
    load_optimizer_state(other.optimizer, half.optimizer.state_dict())
    load_rates(other.optimizer, half.optimizer.state_dict())
    other.scheduler.load_state_dict(half.scheduler.state_dict())
    assert torch.equal(other.run(6, 10).weights(), Training(optimizer, schedule).run(1, 10).weights())


@pytest.mark.filterwarnings('ignore:Detected call of')
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_lower_rates_stay_lower(schedule: str) -> None:
    lowered, plain = Training(schedule=schedule).run(1, 4), Training(schedule=schedule).run(1, 4)
    scale_rates([lowered.optimizer], [lowered.scheduler], 0.5)
    assert rate(lowered) == pytest.approx(rate(plain) / 2)
    assert rate(lowered.run(5, 9)) == pytest.approx(rate(plain.run(5, 9)) / 2)


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_bad_step_changes_nothing(optimizer: str) -> None:
    """Neither the weights nor what the optimizer keeps: fused SGD's momentum would be memory that nobody has written."""
    training = Training(optimizer)
    before = training.weights()
    assert torch.equal(training.run(1, 2, bad=True).weights(), before)
    after = training.run(3, 3).weights()
    expected = Training(optimizer)
    for _number in (2, 3):
        expected.scheduler.step()
    expected.scheduler.step = lambda: None
    assert torch.equal(after, expected.run(3, 3).weights()) and not torch.equal(after, before)


def test_every_schedule_and_optimizer_is_tried() -> None:
    assert known_schedulers().keys() == SCHEDULES.keys() and known_optimizers().keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize('before, now', [('Adam', 'SGD'), ('SGD', 'Adam'), ('Adam', 'NAdam'), ('RMSprop', 'Adagrad')])
def test_states_of_other_optimizers_are_refused(before: str, now: str) -> None:
    state = Training(before).run(1, 2).optimizer.state_dict()
    with pytest.raises(ValueError, match=r'it keeps .* of a parameter of shape'):
        load_optimizer_state(Training(now).optimizer, state)


def with_train(path: str, **train: Any) -> str:
    """Puts whole sections into `train` of an option file."""
    options = yaml.safe_load(Path(path).read_text())
    options['train'] |= train
    Path(path).write_text(yaml.safe_dump(options))
    return path


@pytest.mark.parametrize('optimizer, schedule', [
    ({'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9}, {'type': 'OneCycleLR', 'max_lr': 1e-2, 'total_steps': 9}),
    ({'type': 'RMSprop', 'lr': 1e-3}, {'type': 'CosineAnnealingLR', 'T_max': 9}),
    ({'type': 'NAdam', 'lr': 1e-3}, {'type': 'LinearLR'}),
    ({'type': 'AdamW', 'lr': 1e-3}, {'type': 'StepLR', 'step_size': 2}),
])
def test_stopped_and_resumed_ends_with_the_same_bytes(
        optimizer: dict, schedule: dict, train_options: Callable[..., str], vapsr: Callable[..., Finished],
        monkeypatch: pytest.MonkeyPatch) -> None:
    options = with_train(train_options(), optim_g=optimizer, scheduler=schedule, total_iter=8)
    assert vapsr('train', '-opt', options).code == 0
    undisturbed = network()
    with monkeypatch.context() as patch:
        signal_at(patch, 5)
        assert vapsr('train', '-opt', options).code == 128 + signal.SIGTERM
    resumed = vapsr('train', '-opt', options, '--auto_resume')
    assert resumed.code == 0 and 'iter: 5.' in resumed.err
    assert network() == undisturbed


def rates_of(training: Finished) -> list[float]:
    return [float(line.partition(' lr ')[2].partition(',')[0]) for line in training.err.splitlines() if 'ETA' in line]


def test_a_rollback_lowers_a_cycle(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    options = with_train(train_options(), optim_g={'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9}, total_iter=6,
                         scheduler={'type': 'OneCycleLR', 'max_lr': 1e-2, 'total_steps': 6}, nan_guard={'patience': 2})
    rates = rates_of(vapsr('train', '-opt', options))
    with monkeypatch.context() as patch:
        at_iterations(patch, [3, 4], lambda losses: {name: loss * torch.nan for name, loss in losses.items()})
        diverged = vapsr('train', '-opt', options)
    assert diverged.code == 0 and 'Back to the weights of iteration 2' in diverged.err
    lowered = rates_of(diverged)
    assert lowered[-1] == pytest.approx(rates[-1] / 2, rel=1e-3) and lowered[2] == rates[2]


@pytest.mark.parametrize('before, now, words', [
    ({}, {'type': 'SGD', 'lr': 1e-3}, 'train.optim_g.type is not what the training state was saved with, whose optimizer state '
                                      'does not fit it (it keeps exp_avg, exp_avg_sq, step of a parameter'),
    ({'type': 'RMSprop', 'lr': 1e-3}, {'type': 'RMSprop', 'lr': 1e-3, 'centered': True}, 'train.optim_g.centered is not what'),
])
def test_another_optimizer_is_refused_on_resuming(before: dict, now: dict, words: str, train_options: Callable[..., str],
                                                  vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', with_train(train_options(), **({'optim_g': before} if before else {})))
    result = vapsr('train', '-opt', with_train(train_options(), optim_g=now), '--auto_resume')
    assert result.code == 1 and words in result.err
