"""A subclass of VapSRModel with a loss and a network of its own keeps the guard, exact resume, states and log."""

import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from tests.conftest import Finished
from tests.models.training_helpers import RUN, at_iterations, network, signal_at
from vapsr_arch.models.vapsr_model import VapSRModel


class ColourModel(VapSRModel):
    """Learns a correction of the output's colours beside the network, with an optimizer of its own."""

    def init_training_settings(self) -> None:
        self.net_c = self.model_to_device(nn.Conv2d(3, 3, 1))
        super().init_training_settings()

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        self.optimizers.append(self.get_optimizer('SGD', self.net_c.parameters(), 1e-2, momentum=0.9))

    def more_networks(self) -> dict[str, nn.Module]:
        return {'c': self.net_c}

    def compute_losses(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        losses = super().compute_losses(lq, gt)
        return losses | {'l_colour': self.opt['colour_weight'] * (self.net_c(self.net_g(lq)) - gt).abs().mean()}


@pytest.fixture
def colour_options(train_options: Callable[..., str]) -> Iterator[Callable[..., str]]:
    MODEL_REGISTRY.register(ColourModel)
    yield lambda **train: train_options(
        model_type='ColourModel', colour_weight=0.5, train={'total_iter': 6, 'freeze': ['conv_first.*'], **train})
    del MODEL_REGISTRY._obj_map['ColourModel']


def test_stopped_and_resumed_ends_with_the_same_bytes(colour_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    options = colour_options()
    first = vapsr('train', '-opt', options)
    assert first.code == 0 and "not checked, being ColourModel's own: colour_weight" in first.err
    assert 'l_colour ' in first.err and 'grad_norm ' in first.err and 'is not a VapSRModel' not in first.err
    undisturbed = network(), torch.load(RUN / 'training_states/6.state', weights_only=False)
    with monkeypatch.context() as patch:
        signal_at(patch, 3)
        assert vapsr('train', '-opt', options).code == 128 + signal.SIGTERM
    assert vapsr('train', '-opt', options, '--auto_resume').code == 0
    state = torch.load(RUN / 'training_states/6.state', weights_only=False)
    assert network() == undisturbed[0]
    assert all(torch.equal(tensor, state['networks']['c'][name]) for name, tensor in undisturbed[1]['networks']['c'].items())


def test_a_rollback_takes_its_network_back(colour_options: Callable[..., str], vapsr: Callable[..., Finished],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """To the weights of iteration 2, from which the last two iterations' bad steps have kept it."""
    options = colour_options(nan_guard={'patience': 2}, total_iter=4)
    at_iterations(monkeypatch, [3, 4], lambda losses: {name: loss * torch.nan for name, loss in losses.items()})
    result = vapsr('train', '-opt', options)
    assert result.code == 0 and 'Back to the weights of iteration 2' in result.err
    states = [torch.load(RUN / f'training_states/{iteration}.state', weights_only=False) for iteration in (2, 4)]
    assert torch.equal(*(state['networks']['c']['weight'] for state in states))
    assert [state['optimizers'][1]['param_groups'][0]['lr'] for state in states] == [1e-2, 5e-3]


def test_a_state_of_another_class_is_refused(colour_options: Callable[..., str], train_options: Callable[..., str],
                                             vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', colour_options(total_iter=2))
    result = vapsr('train', '-opt', train_options(train={'freeze': ['conv_first.*']}), '--auto_resume')
    assert result.code == 1
    assert 'Error: the training state is of another model class than VapSRModel: it has 2 optimizers and the networks g, c, ' \
           'not 1 optimizers and the networks g\n' in result.err
