"""The optimisation step: SRModel's results by faster ways, and what the options of `train` change."""

import copy
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from tests.conftest import SMALL_NETWORK, Finished
from tests.models.training_helpers import RUN, network, signal_at
from vapsr_arch.data.prefetch import CUDAPrefetcher, Prefetcher
from vapsr_arch.models.optimization import FastSRModel
from vapsr_arch.pipeline.run import Run

TRAIN = {
    'ema_decay': 0.9, 'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}, 'pixel_opt': {'type': 'L1Loss'}}


def build(model: type[SRModel] = FastSRModel, device: str = 'cpu', **train: Any) -> SRModel:
    """A model that trains, with the same weights every time."""
    torch.manual_seed(0)
    return model(copy.deepcopy({
        'name': 'small', 'is_train': True, 'num_gpu': int(device == 'cuda'), 'dist': False, 'path': {},
        'network_g': SMALL_NETWORK, 'train': TRAIN | train}))


def trained(model: SRModel, iterations: int = 5) -> list[float]:
    """The losses of some iterations; always the same batches."""
    generator = torch.Generator().manual_seed(1)
    losses = []
    for iteration in range(1, iterations + 1):
        model.feed_data({'lq': torch.rand(4, 3, 12, 10, generator=generator),
                         'gt': torch.rand(4, 3, 24, 20, generator=generator)})
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()['l_pix'])
    return losses


def assert_same(one: nn.Module, other: nn.Module, tolerance: float = 1e-5) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values()):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0, msg=lambda text, name=name: f'{name}: {text}')


@pytest.fixture(scope='module')
def plain() -> tuple[FastSRModel, list[float]]:
    """A model without any of the options, after five iterations, and its losses."""
    model = build()
    return model, trained(model)


def test_steps_are_those_of_srmodel(plain: tuple) -> None:
    theirs = build(SRModel)
    assert trained(theirs) == pytest.approx(plain[1], abs=1e-6)
    assert_same(theirs.net_g, plain[0].net_g)
    assert_same(theirs.net_g_ema, plain[0].net_g_ema)


@pytest.mark.parametrize('options', [{'accumulate': 2}, {'accumulate': 4}, {'channels_last': False},
                                     {'grad_clip_norm': 1e6}, {'amp': 'off'}])
def test_what_changes_nothing_but_rounding(options: dict, plain: tuple) -> None:
    model = build(**options)
    assert trained(model) == pytest.approx(plain[1], abs=1e-6)
    assert_same(model.net_g, plain[0].net_g)


def test_compiling_changes_neither_results_nor_names(plain: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:  # torch's own takes a minute on a CPU
        compiled.append(graph)
        return graph

    torch.compiler.reset()  # what other tests have compiled, torch would compile in another way
    monkeypatch.setattr(nn.Module, 'compile', functools.partialmethod(nn.Module.compile, backend=backend))
    model = build(compile=True, ema_decay=0)
    assert trained(model) == pytest.approx(plain[1], abs=1e-6) and len(compiled) == 1
    assert list(model.net_g.state_dict()) == list(plain[0].net_g.state_dict())
    model.lq = torch.rand(1, 3, 9, 7)
    model.test()  # an image of another size is not compiled for
    assert model.output.shape == (1, 3, 18, 14) and len(compiled) == 1 and model.net_g.training


def test_gradients_are_clipped_to_a_norm() -> None:
    model = build(grad_clip_norm=0.01)
    trained(model, 1)
    clipped = torch.cat([parameter.grad.flatten() for parameter in model.net_g.parameters()]).norm()
    assert model.grad_norm > 0.1 and clipped.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_half_precision_learns_about_the_same(amp: str, plain: tuple) -> None:
    model = build(amp=amp)
    assert trained(model) == pytest.approx(plain[1], abs=2e-3)
    assert all(parameter.dtype == torch.float32 for parameter in model.net_g.parameters())


def test_fp16_lowers_its_scale_instead_of_stepping_on_infinite_gradients() -> None:
    model = build(amp='fp16')
    before = copy.deepcopy(model.net_g)
    model.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    trained(model, 1)
    assert_same(model.net_g, before, tolerance=0)
    assert model.scaler.get_scale() < 2.0**60 and not torch.isfinite(model.grad_norm)


def test_a_bad_step_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    before = copy.deepcopy(model.net_g), copy.deepcopy(model.net_g_ema)
    monkeypatch.setattr(model, '_bad_step', lambda: torch.ones_like(model.grad_norm))
    trained(model, 2)
    assert_same(model.net_g, before[0], tolerance=0)
    assert_same(model.net_g_ema, before[1], tolerance=0)


def test_adamw_decays_the_weights_themselves() -> None:
    adam, adamw = (build(optim_g={'type': kind, 'lr': 1e-3, 'weight_decay': 0.5}) for kind in ('Adam', 'AdamW'))
    theirs = torch.optim.AdamW(copy.deepcopy(adamw.net_g).parameters(), 1e-3, weight_decay=0.5)
    trained(adam, 1), trained(adamw, 1)
    for own, reference in zip(adamw.net_g.parameters(), theirs.param_groups[0]['params']):
        reference.grad = own.grad
    theirs.step()
    for own, reference in zip(adamw.net_g.parameters(), theirs.param_groups[0]['params']):
        torch.testing.assert_close(own, reference, atol=1e-6, rtol=0)
    assert any(not torch.equal(a, b) for a, b in zip(adam.net_g.parameters(), adamw.net_g.parameters()))


@pytest.mark.parametrize('train, batch, words', [
    ({'accumulate': 3}, 4, 'train.accumulate: 3 does not divide batch_size_per_gpu 4'),
    ({'accumulate': 2, 'pixel_opt': {'reduction': 'sum'}}, 4, 'train.accumulate: needs a loss that is a mean'),
    ({'amp': 'half'}, 4, "train.amp: Input should be 'off', 'bf16' or 'fp16'"),
    ({'grad_clip_norm': 0}, 4, 'train.grad_clip_norm: Input should be greater than 0'),
])
def test_option_faults(train: dict, batch: int, words: str, train_options: Callable[..., str],
                       vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(train=train, datasets={'train': {'batch_size_per_gpu': batch}}))
    assert result.code == 2 and f'train.yml: {words}' in result.err


def test_amp_off_as_yaml_writes_it(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    assert vapsr('train', '-opt', train_options(), '--force_yml', 'train:amp=off', 'train:total_iter=1').code == 0


def test_prefetchers_give_every_batch_once() -> None:
    started = []

    class Loader:
        def __iter__(self) -> object:
            started.append(True)
            return iter([{'lq': torch.tensor([number])} for number in range(3)])

    prefetcher = Prefetcher(Loader())
    for _ in range(2):
        prefetcher.reset()
        assert [prefetcher.next()['lq'].item() for _ in range(3)] == [0, 1, 2] and prefetcher.next() is None
    assert len(started) == 2


@pytest.mark.parametrize('given, prefetch', [({}, ('cuda', True)), ({'pin_memory': False}, (None, False)),
                                             ({'prefetch_mode': 'cpu'}, ('cpu', True))])
def test_a_gpu_gets_its_batches_ahead(given: dict, prefetch: tuple, train_options: Callable[..., str],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    options = train_options(num_gpu='auto', datasets={'train': given})
    dataset = Run(options, True).begin('.')['datasets']['train']
    assert (dataset.get('prefetch_mode'), dataset['pin_memory']) == prefetch


@pytest.mark.gpu
def test_batches_are_copied_to_the_gpu() -> None:
    batches = [{'lq': torch.full((4,), number).pin_memory(), 'lq_path': ['x']} for number in range(3)]
    prefetcher = CUDAPrefetcher(batches)
    for _ in range(2):
        prefetcher.reset()
        for number in range(3):
            batch = prefetcher.next()
            assert batch['lq'].is_cuda and batch['lq'].tolist() == [number] * 4 and batch['lq_path'] == ['x']
        assert prefetcher.next() is None


@pytest.mark.gpu
@pytest.mark.parametrize('options, tolerance', [({}, 1e-3), ({'amp': 'bf16'}, 1e-2), ({'amp': 'fp16'}, 1e-2),
                                                ({'compile': True}, 1e-3)])
def test_a_gpu_learns_as_a_cpu(options: dict, tolerance: float, plain: tuple) -> None:
    assert trained(build(device='cuda', **options)) == pytest.approx(plain[1], abs=tolerance)


@pytest.mark.gpu
def test_losses_stay_on_the_gpu_until_they_are_asked_for() -> None:
    model = build(device='cuda')
    trained(model, 2)
    torch.cuda.set_sync_debug_mode('error')
    try:
        model.optimize_parameters(3)
    finally:
        torch.cuda.set_sync_debug_mode('default')


class PairLoss(nn.Module):
    """Two losses, and a third that is not there; they look at the output as others' losses do, by a view."""

    def forward(self, output: Tensor, target: Tensor) -> tuple:
        difference = (output.view(len(output), -1) - target.view(len(target), -1)).abs().mean()
        return difference, None, difference * 2


@pytest.fixture
def pair_loss() -> Iterator[None]:
    LOSS_REGISTRY.register(PairLoss)
    yield
    del LOSS_REGISTRY._obj_map['PairLoss']


def test_any_number_of_losses(pair_loss: None) -> None:
    """Their sum is minimised; a key that would have another one's name in the log does not hide it."""
    model = build(mse_opt={'type': 'MSELoss'}, pair_opt={'type': 'PairLoss'}, pix_opt={'type': 'MSELoss', 'loss_weight': 2.0},
                  smooth_opt={'type': 'WeightedTVLoss'})
    trained(model, 1)
    log = model.get_current_log()
    assert list(log) == ['l_pix', 'l_mse', 'l_pair_1', 'l_pair_3', 'l_pix (pix_opt)', 'l_smooth']
    assert log['l_pair_3'] == pytest.approx(2 * log['l_pair_1']) == pytest.approx(2 * log['l_pix'], rel=1e-5)
    assert log['l_pix (pix_opt)'] == pytest.approx(2 * log['l_mse'], rel=1e-5)
    gradient = model.net_g.conv_first.weight.grad
    alone, batch = build(), torch.Generator().manual_seed(1)
    lq, gt = torch.rand(4, 3, 12, 10, generator=batch), torch.rand(4, 3, 24, 20, generator=batch)
    output = alone.net_g(lq)
    smoothness = output.diff(dim=2).abs().mean() + output.diff(dim=3).abs().mean()
    ((output - gt).abs().mean() * 4 + (output - gt).square().mean() * 3 + smoothness).backward()
    torch.testing.assert_close(gradient, alone.net_g.conv_first.weight.grad, atol=1e-5, rtol=1e-4)


def test_frozen_parameters_stay(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the EMA, and after a stop."""
    options = train_options(train={'freeze': ['body.*', 'conv_first.weight'], 'total_iter': 4})
    result = vapsr('train', '-opt', options)
    assert result.code == 0 and re.search(r'train.freeze: 1\d of 2\d parameter tensors are not trained', result.err)
    undisturbed = network()
    with monkeypatch.context() as patch:
        signal_at(patch, 2)
        vapsr('train', '-opt', options)
    first = torch.load(RUN / 'models/net_g_2.pth')
    assert vapsr('train', '-opt', options, '--auto_resume').code == 0 and network() == undisturbed
    last = torch.load(RUN / 'models/net_g_latest.pth')
    for key in ('params', 'params_ema'):
        for name, tensor in first[key].items():
            frozen = name.startswith('body.') or name == 'conv_first.weight'
            assert torch.equal(tensor, last[key][name]) == frozen, name
    refused = vapsr('train', '-opt', train_options(train={'freeze': ['body.*'], 'total_iter': 5}), '--auto_resume')
    assert refused.code == 1 and 'Error: train.freeze is not what the training state was saved with' in refused.err


@pytest.mark.parametrize('patterns, words', [
    (['body.*', 'boddy.*'], 'train.freeze: boddy.* names no parameter of VapSR; they are named like conv_first.weight, '),
    (['*'], 'train.freeze: every parameter is frozen, nothing is left to train'),
])
def test_patterns_that_cannot_be_frozen(patterns: list[str], words: str, train_options: Callable[..., str],
                                        vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(train={'freeze': patterns}))
    assert result.code == 1 and f'Error: {words}' in result.err
