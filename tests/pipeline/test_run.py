"""Runs: the options that lie in their folder, where they resume, what they say, how they stop."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from tests.conftest import Finished
from tests.models import training_process
from tests.models.training_helpers import RUN, network, states

LOG = Path('log.txt')
OPTIONS = RUN / 'train.yml'
SCHEDULERS = {
    'MultiStepLR': {'milestones': [100]},
    'CosineAnnealingRestartLR': {'periods': [2], 'eta_min': 1e-7},
    'ExponentialLR': {'gamma': 0.9},
    'OneCycleLR': {'max_lr': 1e-3, 'total_steps': 2},
}


def with_scheduler(name: str, train_options: Callable[..., str], **changes: Any) -> str:
    """A training option file with one of SCHEDULERS."""
    path = Path(train_options(**changes))
    options = yaml.safe_load(path.read_text())
    options['train']['scheduler'] = {'type': name, **SCHEDULERS[name]}
    path.write_text(yaml.safe_dump(options))
    return str(path)


@pytest.mark.parametrize('seed', [0, None], ids=['given', 'drawn'])
def test_the_options_of_a_run_run_again(seed: int | None, train_options: Callable[..., str],
                                        vapsr: Callable[..., Finished]) -> None:
    """As they lie in its folder: with what the command line set, the plugin, the defaults, and the seed."""
    Path('own_losses.py').write_text(
        'from basicsr.losses.basic_loss import L1Loss\nfrom basicsr.utils.registry import LOSS_REGISTRY\n\n\n'
        '@LOSS_REGISTRY.register()\nclass OwnLoss' + str(seed) + '(L1Loss):\n    pass\n')
    options = train_options(manual_seed=seed, train={'pixel_opt': {'type': f'OwnLoss{seed}'}})
    first = vapsr('train', '-opt', options, '--plugin', 'own_losses.py', '--force_yml', 'train:optim_g:lr=0.002',
                  'network_g:num_feat=12')
    assert first.code == 0, first.err
    before = network()
    resolved = yaml.safe_load(OPTIONS.read_text())
    assert resolved['plugins'] == ['own_losses.py'] and resolved['train']['optim_g']['lr'] == 0.002
    assert resolved['logger']['use_tb_logger'] is False and isinstance(resolved['manual_seed'], int)
    assert OPTIONS.read_text().startswith('# train.yml as it was read, for:\n# ')
    again = vapsr('train', '-opt', str(OPTIONS))
    assert again.code == 0, again.err
    assert network() == before
    assert yaml.safe_load(OPTIONS.read_text()) == resolved
    assert len(list(Path('experiments').glob('small_archived_*'))) == 1


def test_a_command_of_several_lines_stays_a_comment(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sys.argv', ['vapsr', 'train', '--force_yml', 'name=small\nscale: 9'])
    assert vapsr('train', '-opt', train_options()).code == 0
    assert yaml.safe_load(OPTIONS.read_text())['scale'] == 2


def test_nothing_to_resume_is_reported(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(), '--auto_resume')
    assert result.code == 0
    assert re.search(r'--auto_resume: there is no training state in \S+/experiments/small/training_states: training starts at 0',
                     result.out)


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_a_state_beyond_the_end(scheduler: str, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(train={'total_iter': 4}))
    options = with_scheduler(scheduler, train_options, train={'total_iter': 2})
    for arguments in (['--auto_resume'], ['--force_yml', f'path:resume_state={RUN}/training_states/4.state']):
        result = vapsr('train', '-opt', options, *arguments)
        assert result.code == 1 and 'Traceback' not in result.err
        assert result.err.splitlines()[-1].endswith(
            '4.state is of iteration 4, beyond train.total_iter 2: raise total_iter, or start a new run under another name')
    assert states() == ['2.state', '4.state']


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_a_finished_run_is_resumed(scheduler: str, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = with_scheduler(scheduler, train_options, train={'total_iter': 2}, val={'val_freq': 2})
    assert vapsr('train', '-opt', options).code == 0
    before = network()
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert result.code == 0, result.err
    assert 'l_pix' not in result.err and 'Validation photos' not in result.err
    assert network() == before


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_a_finished_run_is_trained_further(scheduler: str, train_options: Callable[..., str],
                                           vapsr: Callable[..., Finished]) -> None:
    """Its last iteration is saved with its state, whatever `save_checkpoint_freq` is."""
    first = with_scheduler(scheduler, train_options, train={'total_iter': 1}, logger={'save_checkpoint_freq': 2})
    assert vapsr('train', '-opt', first).code == 0
    assert states() == ['1.state'] and (RUN / 'models/net_g_1.pth').read_bytes() == network('latest')
    further = with_scheduler(scheduler, train_options, train={'total_iter': 2}, logger={'save_checkpoint_freq': 2})
    result = vapsr('train', '-opt', further, '--auto_resume')
    assert result.code == 0, result.err
    assert states() == ['1.state', '2.state'] and 'Resuming training from epoch: ' in result.err


class ForeignModel(SRModel):
    """A third-party model class."""


@pytest.fixture
def foreign_options(train_options: Callable[..., str]) -> Callable[..., str]:
    if 'ForeignModel' not in MODEL_REGISTRY:
        MODEL_REGISTRY.register(ForeignModel)
    return lambda **changes: train_options(model_type='ForeignModel', **changes)


@pytest.mark.parametrize('model', ['VapSRModel', 'ForeignModel'])
@pytest.mark.parametrize('total_iter, validations', [(4, 2), (5, 3)])
def test_no_iteration_is_validated_twice(model: str, total_iter: int, validations: int, foreign_options: Callable[..., str],
                                         train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """Every second one is, and the last; the last one's figures are its own, not those of the one after it."""
    make = foreign_options if model == 'ForeignModel' else train_options
    result = vapsr('train', '-opt', make(train={'total_iter': total_iter}, val={'val_freq': 2}))
    assert result.code == 0, result.err
    assert result.err.count('Validation photos') == validations
    assert max(map(int, re.findall(r'@ (\d+) iter', result.err))) <= total_iter


def test_a_finished_run_without_a_state_is_not_begun_again(foreign_options: Callable[..., str],
                                                           vapsr: Callable[..., Finished]) -> None:
    """Models of others save their last iteration without one."""
    options = foreign_options(train={'total_iter': 2}, logger={'save_checkpoint_freq': 100})
    assert vapsr('train', '-opt', options).code == 0
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert result.code == 1 and 'net_g_latest.pth is of a run that has ended, and there is no training state' in result.err
    assert (RUN / 'models/net_g_latest.pth').is_file() and not list(Path('experiments').glob('*_archived_*'))


def test_a_validation_set_that_is_not_there(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = train_options()
    shutil.rmtree(yaml.safe_load(Path(options).read_text())['datasets']['val']['dataroot_lq'])
    result = vapsr('train', '-opt', options)
    assert result.code == 1 and 'datasets.val: there is no ' in result.err and '`vapsr data fetch` downloads' in result.err
    assert not RUN.exists()


def test_models_of_others_take_torchs_optimizers_and_schedulers(foreign_options: Callable[..., str],
                                                                vapsr: Callable[..., Finished]) -> None:
    path = Path(foreign_options())
    options = yaml.safe_load(path.read_text())
    options['train'] |= {'optim_g': {'type': 'RAdam', 'lr': 1e-3}, 'scheduler': {'type': 'ExponentialLR', 'gamma': 0.5}}
    path.write_text(yaml.safe_dump(options))
    result = vapsr('train', '-opt', str(path))
    assert result.code == 0, result.err


def foreign_model() -> None:
    MODEL_REGISTRY.register(ForeignModel)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_models_of_others_stop_at_once(number: signal.Signals, foreign_options: Callable[..., str]) -> None:
    """Whatever they are doing, saving for the most part: what they saved last is whole, and is resumed."""
    options = foreign_options(train={'total_iter': 100_000}, logger={'save_checkpoint_freq': 1})
    process = training_process.start('-opt', options, log=LOG, before=foreign_model)
    training_process.wait_for_line(process, LOG, 'iter 3/')
    os.kill(process.pid, number)
    process.join()
    text = LOG.read_text()
    assert process.exitcode == 128 + number and 'Traceback' not in text and 'Exception' not in text
    newest = max(int(name.removesuffix('.state')) for name in states())
    for path in RUN.rglob('*.pth'):
        assert torch.load(path)['params']
    assert not list(Path('experiments').rglob('.*'))
    options = foreign_options(train={'total_iter': newest + 1})
    process = training_process.start('-opt', options, '--auto_resume', log=LOG, before=foreign_model)
    process.join()
    assert process.exitcode == 0 and f'iter: {newest}.' in LOG.read_text()


def test_models_of_others_stop_where_they_cannot_write(
        foreign_options: Callable[..., str], vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForeignModel, 'optimize_parameters', lambda self, current_iter: shutil.rmtree(RUN / 'models') or (
        RUN / 'models').touch() or setattr(self, 'log_dict', {}))
    result = vapsr('train', '-opt', foreign_options(train={'total_iter': 1}))
    assert result.code == 1 and 'net_g_latest.pth cannot be written: ' in result.err.splitlines()[-1]
