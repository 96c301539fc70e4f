"""Steps whose loss is not finite or far too large are skipped; training that diverges goes back, and at last gives up."""

import re
from collections.abc import Callable

import pytest
import torch
import yaml
from torch import Tensor

from tests.conftest import REPOSITORY, Finished
from tests.models.training_helpers import RUN, at_iterations, network, signal_at
from vapsr_arch.models.nan_guard import NanGuard


def times(factor: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda losses: {name: loss * factor for name, loss in losses.items()}


def judge(guard: NanGuard, loss: float, grad_norm: float = 1.0) -> bool:
    return guard.judge(torch.tensor(loss), torch.tensor(grad_norm)).item() == 1


@pytest.mark.parametrize('loss, grad_norm, words', [
    (torch.nan, 1.0, 'the loss is nan'), (torch.inf, 1.0, 'the loss is inf'),
    (1.0, torch.nan, 'the norm of the gradients is nan'),
    (10.5, 1.0, 'the loss, 10.5, is far above its running median, 1')])
def test_bad_steps(loss: float, grad_norm: float, words: str) -> None:
    guard = NanGuard({})
    for _ in range(20):
        assert not judge(guard, 1.0)
    guard.read()
    assert not judge(guard, 9.5)
    assert guard.read() is None and guard.calm
    assert judge(guard, loss, grad_norm)
    assert guard.read() == words and not guard.calm and guard.skipped == 1


def test_patience_counts_steps_in_a_row() -> None:
    guard = NanGuard({'patience': 3})
    for loss in (torch.nan, torch.nan, 1.0, torch.nan, torch.nan):
        judge(guard, loss)
    guard.read()
    assert not guard.diverged and guard.skipped == 4
    judge(guard, torch.nan)
    guard.read()
    assert guard.diverged


def test_the_guards_state_holds_what_it_has_not_read() -> None:
    guard, other = NanGuard({}), NanGuard({})
    for loss in [1.0] * 20 + [torch.nan]:
        judge(guard, loss)
    other.load_state_dict(guard.state_dict())
    assert guard.read() == other.read() == 'the loss is nan'
    assert guard.state_dict() == other.state_dict() and judge(other, 11.0)


def test_a_bad_step_changes_nothing(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, [2], times(torch.nan))
    options = train_options(logger={'save_checkpoint_freq': 1})
    result = vapsr('train', '-opt', options)
    assert result.code == 0 and 'Iteration 2: the loss is nan; steps skipped: 1, in all 1' in result.err
    before, after = (torch.load(RUN / f'models/net_g_{label}.pth') for label in (1, 2))
    assert all(torch.equal(before[key][name], after[key][name]) for key in before for name in before[key])
    assert network(3) != network(2)


def test_a_single_spike_is_skipped(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, [24], times(1e4))
    result = vapsr('train', '-opt', train_options(train={'total_iter': 26}))
    assert result.code == 0
    assert 'is far above its running median' in result.err and 'in all 1' in result.err and 'Back to' not in result.err


@pytest.mark.parametrize('factor', [torch.nan, 1e4])
def test_lasting_divergence_goes_back_with_a_lower_learning_rate(
        factor: float, train_options: Callable[..., str], vapsr: Callable[..., Finished],
        monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, range(23, 26), times(factor))
    options = train_options(train={'total_iter': 27, 'nan_guard': {'patience': 3, 'lr_factor': 0.1}}, logger={
        'save_checkpoint_freq': 22})
    result = vapsr('train', '-opt', options)
    assert result.code == 0
    assert 'Iteration 25: ' in result.err
    assert 'the last of 3 bad steps in a row. Back to the weights of iteration 22, with the learning rate lowered to ' \
           '1.000e-04; rollback 1 of 3' in result.err
    assert 'lr 1.000e-04, ' in result.err
    assert all(tensor.isfinite().all() for tensor in torch.load(RUN / 'models/net_g_latest.pth')['params'].values())


def test_the_x2_recipe_comes_back_from_a_crash(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """A real one, by a learning rate that becomes far too large after iteration 30; five blocks crash as well."""
    recipe = yaml.safe_load((REPOSITORY / 'options/train/VapSR/train_VapSR_x2_DF2K.yml').read_text())
    crash = {'total_iter': 60, 'scheduler': {'type': 'MultiStepLR', 'milestones': [30], 'gamma': 100},
             'nan_guard': {'patience': 3, 'lr_factor': 0.01}}
    result = vapsr('train', '-opt', train_options(
        network_g=recipe['network_g'] | {'num_block': 5}, train=recipe['train'] | crash, val=None,
        logger={'save_checkpoint_freq': 10}, datasets={'train': {'dataset_enlarge_ratio': 100}}))
    assert result.code == 0 and result.err.count('Back to the weights of iteration 30') == 1
    losses = {int(iteration): float(loss) for iteration, loss in re.findall(r'iter (\d+)/60, l_pix (\S+),', result.err)}
    before, crashed, after = (max(losses[iteration] for iteration in span) for span in (
        range(26, 31), range(31, 40), range(51, 61)))
    assert crashed > 10 * before and after < 2 * before


def test_a_rollback_after_a_stop_is_the_same(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go back to the state that the signal asked for, be that the only one to keep."""
    options = train_options(train={'total_iter': 8, 'nan_guard': {'patience': 2}}, logger={'keep_last': 1})
    with monkeypatch.context() as patch:
        at_iterations(patch, [4, 5], times(torch.nan))
        undisturbed = vapsr('train', '-opt', options)
    expected = network()
    with monkeypatch.context() as patch:
        signal_at(patch, 3)
        vapsr('train', '-opt', options)
    at_iterations(monkeypatch, [4, 5], times(torch.nan))
    resumed = vapsr('train', '-opt', options, '--auto_resume')
    for result in (undisturbed, resumed):
        assert 'Back to the weights of iteration 2,' in result.err
    assert network() == expected


def test_training_gives_up(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, range(3, 99), times(torch.nan))
    result = vapsr('train', '-opt', train_options(
        train={'total_iter': 20, 'nan_guard': {'patience': 2, 'max_rollbacks': 2}}))
    assert result.code == 1 and 'rollback 2 of 2' in result.err
    assert result.err.splitlines()[-1].startswith(
        'Error: training diverges: the loss is nan, the last of 2 bad steps in a row, after 2 rollbacks that multiplied the '
        'learning rate with 0.25 in all: lower train.optim_g.lr')


def test_weights_that_are_not_finite_are_never_saved(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from vapsr_arch.models.vapsr_model import VapSRModel
    take_step = VapSRModel.optimize_parameters

    def spoil(model: VapSRModel, current_iter: int) -> None:
        take_step(model, current_iter)
        if current_iter == 4:
            next(model.net_g.parameters()).data[0] = torch.nan
    monkeypatch.setattr(VapSRModel, 'optimize_parameters', spoil)
    result = vapsr('train', '-opt', train_options(train={'total_iter': 5}))
    assert result.code == 0
    assert 'Iteration 4: the weights are not finite. Back to the weights of iteration 2' in result.err
    for path in (RUN / 'models').iterdir():
        assert all(tensor.isfinite().all() for tensor in torch.load(path)['params'].values())
