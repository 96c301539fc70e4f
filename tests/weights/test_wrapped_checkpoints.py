"""Checkpoints as people have them: wrappers, prefixes, kinds of numbers; what is taken, by convert and by training alike."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Finished
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.networks import build_network, load_into

State = dict[str, torch.Tensor]


def network() -> VapSR:
    return VapSR(scale=2, num_feat=8, num_block=1, d_atten=16)


def filled(value: float) -> State:
    return {name: torch.full_like(tensor, value) for name, tensor in network().state_dict().items()}


def behind(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


RAW, EMA = filled(1), filled(2)
OPTIMIZER = {'state': {0: {'exp_avg': torch.ones(3)}}, 'param_groups': [{'params': [0]}]}
FORMS: dict[str, Any] = {
    'compiled': behind('_orig_mod.', EMA),
    'compiled in parallel': {'params': behind('module._orig_mod.', EMA)},
    'Lightning': {'state_dict': behind('model.', EMA) | {'loss.vgg.weight': torch.ones(3, 3)}, 'loss': torch.ones(5),
                  'hyper_parameters': {'path': Path('x'), 'lr': np.float64(1), 'more': argparse.Namespace(a=1)},
                  'optimizer_states': [OPTIMIZER]},
    'Lightning with a GAN': {'state_dict': behind('net_g.', RAW) | behind('net_d.', filled(7)) | behind(
        'net_g_ema.module.', EMA) | {'steps': torch.tensor(1)}},
    'an unusual name beside losses': {'state_dict': behind('my_sr.', EMA) | {'criterion.weight': torch.ones(3, 3)}},
    'AveragedModel': behind('module.', EMA) | {'n_averaged': torch.tensor(3)},
    'counters': {**EMA, 'iter': 5, 'steps': torch.tensor(5), 'losses': torch.ones(4), 'name': 'x', 'sizes': [1, 2]},
    'nested': {'checkpoint': {'model': {'state_dict': EMA}}, 'optimizer': OPTIMIZER},
    'EMA of a state_dict': {'state_dict': RAW, 'state_dict_ema': EMA},
    'EMA with its decay': {'model': RAW, 'ema': {'decay': 0.9, 'shadow': EMA, 'updates': 3}},
    'EMA of a GAN': {'netG': RAW, 'netD': filled(9), 'netG_ema': EMA},
    'EMA as a prefix': behind('params.', RAW) | behind('params_ema.', EMA),
    'parameters': {'params': {name: torch.nn.Parameter(tensor) for name, tensor in EMA.items()}},
    'half': {'params': {name: tensor.half() for name, tensor in EMA.items()}},
    'bfloat16': {'params': {name: tensor.bfloat16() for name, tensor in EMA.items()}},
    **{f'only {key}': {key: EMA, 'epoch': 1} for key in (
        'ema', 'g_ema', 'netG', 'network', 'weights', 'generator', 'model_ema', 'EMA', 'params-ema', 'my_key')}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('form', FORMS)
def test_weights_are_found(form: str, vapsr: Callable[..., Finished]) -> None:
    torch.save(FORMS[form], 'w.pth')
    assert vapsr('weights', 'convert', 'w.pth', 'out.pth').code == 0
    torch.save(FORMS[form], 'old.pth', _use_new_zipfile_serialization=False)
    for path in ('w.pth', 'out.pth', 'old.pth'):
        for strict in (True, False):
            target = network()
            load_into(target, path, strict=strict)
            assert all(torch.equal(tensor, EMA[name]) for name, tensor in target.state_dict().items())
        assert build_network(path).conv_first.bias[0] == 2


def test_what_is_taken_is_said() -> None:
    torch.save(FORMS['EMA of a state_dict'], 'w.pth')
    said = []
    build_network('w.pth', log=said.append)
    assert said == ['w.pth: its weights, key state_dict_ema, are taken, not those of state_dict']
    assert load_into(network(), 'w.pth') == 'VapSR: all tensors loaded from w.pth, key state_dict_ema'
    torch.save(FORMS['Lightning'], 'l.pth')
    assert load_into(network(), 'l.pth').endswith('from l.pth, key state_dict, without the prefix model.')


@pytest.mark.parametrize(('form', 'key'), [
    ('EMA of a state_dict', 'state_dict'), ('EMA with its decay', 'model'), ('EMA of a GAN', 'netG'),
    ('EMA as a prefix', 'params'), ('Lightning with a GAN', 'net_g')])
def test_another_can_be_named(form: str, key: str) -> None:
    torch.save(FORMS[form], 'w.pth')
    assert build_network('w.pth', param_key=key).conv_first.bias[0] == 1
    with pytest.raises(VapsrError, match=r"w.pth has no weights under 'none'"):
        build_network('w.pth', param_key='none')
