"""Networks of BasicSR and of others in option files: windows, ranges, arguments; what torch has by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import Finished
from vapsr_arch.archs.common.adapted import AdaptedNetwork
from vapsr_arch.pipeline.networks import build_network, for_basicsr
from vapsr_arch.pipeline.registration import registered

SWINIR = {'type': 'SwinIR', 'upscale': 2, 'img_size': 16, 'window_size': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2],
          'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'}
MSRRESNET = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}


def with_sections(name: str, **sections: dict) -> str:
    """Replaces whole sections of an option file; `train` is changed key by key."""
    options = yaml.safe_load(Path(name).read_text())
    train = options.get('train', {}) | sections.pop('train', {})
    Path(name).write_text(yaml.safe_dump(options | sections | ({'train': train} if train else {})))
    return name


@pytest.mark.parametrize('network', [SWINIR, MSRRESNET], ids=lambda network: network['type'])
def test_networks_of_basicsr_train_and_test(network: dict, train_options: Callable[..., str], test_options: Callable[..., str],
                                            vapsr: Callable[..., Finished]) -> None:
    """SwinIR ended in a traceback about windows: the images' sizes are no multiples of 8."""
    result = vapsr('train', '-opt', with_sections(train_options(train={'total_iter': 1}), network_g=network))
    assert result.code == 0, result.err
    latest = 'experiments/small/models/net_g_latest.pth'
    assert torch.load(latest)['params'].keys() == build_network(network).state_dict().keys()
    result = vapsr('test', '-opt', with_sections(test_options(), network_g=network, path={'pretrain_network_g': latest}))
    assert result.code == 0 and '# psnr: ' in result.err, result.err


def test_windows_are_found_and_can_be_overruled() -> None:
    network = build_network(SWINIR)
    assert isinstance(network, AdaptedNetwork) and network.size_multiple == 8
    assert network(torch.rand(1, 3, 9, 11)).shape == (1, 3, 18, 22)
    assert build_network(SWINIR | {'size_multiple': 16}).size_multiple == 16
    assert not isinstance(build_network(MSRRESNET), AdaptedNetwork)
    assert build_network(SWINIR | {'img_range': 255}).network.img_range == 255  # SwinIR's own argument


def test_basicsr_builds_the_same_network(own_plugins: None) -> None:
    from basicsr.archs import build_network as basicsr_build_network
    from basicsr.utils.registry import ARCH_REGISTRY
    assert for_basicsr(MSRRESNET) == MSRRESNET
    for _ in range(2):  # what is registered for it is registered once
        options = for_basicsr(SWINIR)
        network = basicsr_build_network(options)
        assert isinstance(network, AdaptedNetwork) and network.size_multiple == 8
    assert options['window_size'] == 8  # SwinIRModel reads it
    assert [name for name in registered(ARCH_REGISTRY) if 'SwinIR' in name and '(adapted)' in name] == ['SwinIR (adapted)']


@pytest.mark.parametrize('train', [
    {'optim_g': {'type': 'SGD', 'lr': 1e-3, 'momentum': 0.9}}, {'optim_g': {'type': 'RAdam', 'lr': 1e-3}},
    {'scheduler': {'type': 'ExponentialLR', 'gamma': 0.5}},
    {'scheduler': {'type': 'OneCycleLR', 'max_lr': 1e-3, 'total_steps': 9}},
    {'char_opt': {'type': 'CharbonnierLoss'}, 'tv_opt': {'type': 'MSELoss', 'loss_weight': 0.1}}])
def test_what_torch_and_basicsr_have_by_name(train: dict, train_options: Callable[..., str],
                                             vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', with_sections(train_options(), train=train))
    assert result.code == 0, result.err


@pytest.mark.parametrize('train, words', [
    ({'optim_g': {'type': 'SGD', 'lr': 1e-3, 'momentun': 0.9}},
     "train.optim_g.momentun: unknown key; did you mean 'momentum'?"),
    ({'optim_g': {'type': 'SDG', 'lr': 1e-3}}, "train.optim_g.type: SDG is not registered; did you mean 'SGD'?"),
    ({'scheduler': {'type': 'ExponentialLR'}}, 'train.scheduler.gamma: is required'),
    ({'scheduler': {'type': 'ReduceLROnPlateau'}}, 'train.scheduler.type: ReduceLROnPlateau is not registered')])
def test_faults_of_what_torch_has(train: dict, words: str, train_options: Callable[..., str],
                                  vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', with_sections(train_options(), train=train))
    assert result.code == 2 and words in result.err
