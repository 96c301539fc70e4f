"""A run that is stopped and resumed ends as one that was not; what is saved is whole; what cannot be saved is an error."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel

from tests.conftest import Finished
from tests.models.training_helpers import RUN, network, signal_at, signal_at_image, states
from vapsr_arch.data.degrade import make_degraded
from vapsr_arch.data.packing import make_pack
from vapsr_arch.models.vapsr_model import VapSRModel


@pytest.mark.parametrize('stop, changes', [
    (1, {}), (4, {}), (6, {'amp': 'fp16', 'accumulate': 2}), (7, {'warmup_iter': 8}),
    pytest.param(4, {'amp': 'bf16'}, marks=pytest.mark.gpu, id='on a GPU')])
def test_stopped_and_resumed_ends_with_the_same_bytes(
        stop: int, changes: dict, request: pytest.FixtureRequest, train_options: Callable[..., str],
        vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    """6 iterations an epoch: before its end, at its end, and in the second one."""
    gpu = {'num_gpu': 1, 'deterministic': True} if request.node.get_closest_marker('gpu') else {}
    request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
    options = train_options(train={'total_iter': 9, **changes}, val={'val_freq': 2}, **gpu, datasets={
        'train': {'dataset_enlarge_ratio': 3}})
    assert vapsr('train', '-opt', options).code == 0
    undisturbed = network()
    with monkeypatch.context() as patch:
        signal_at(patch, stop)
        stopped = vapsr('train', '-opt', options)
    assert stopped.code == 128 + signal.SIGTERM and f'after iteration {stop}; resume with --auto_resume' in stopped.err
    assert network(stop) != undisturbed
    resumed = vapsr('train', '-opt', options, '--auto_resume')
    assert resumed.code == 0 and f'iter: {stop}.' in resumed.err
    assert network() == undisturbed


def test_a_run_on_a_list_of_packs_resumes_to_the_same_bytes(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(Path.cwd()))
    make_degraded([Path('datasets/photos/HR')], Path('degraded'), 2, variants=1, workers=1)
    for folder, pack in (('datasets/photos/HR', 'HR'), ('datasets/photos/LR', 'LR'), ('degraded/X2_v1', 'v1')):
        make_pack([Path(folder)], Path(f'{pack}.pack'), workers=1)
    packs = {'type': 'PairedPackDataset', 'io_backend': None, 'dataroot_gt': 'HR.pack', 'dataset_enlarge_ratio': 3}

    def trained(lq: str | list[str], *arguments: str, total_iter: int = 9) -> bytes:
        options = train_options(datasets={'train': {**packs, 'dataroot_lq': lq}}, train={'total_iter': total_iter})
        result = vapsr('train', '-opt', options, *arguments)
        assert result.code == 0, result.err
        return network()

    several = ['LR.pack', '~/v1.pack']
    undisturbed = trained(several)
    assert len({undisturbed, trained('LR.pack'), trained('v1.pack')}) == 3
    assert trained(several, total_iter=4) != undisturbed
    assert trained(several, '--auto_resume') == undisturbed


def test_ctrl_c_saves_and_exits_with_130(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, 1, signal.SIGINT)
    assert vapsr('train', '-opt', train_options()).code == 128 + signal.SIGINT
    assert states() == ['1.state']


def test_a_signal_in_the_last_iteration_stops_nothing(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Without images to validate the run is finished, and says so."""
    path = Path(train_options())
    options = yaml.safe_load(path.read_text())
    del options['datasets']['val'], options['val']
    path.write_text(yaml.safe_dump(options))
    signal_at(monkeypatch, 3)
    result = vapsr('train', '-opt', str(path))
    assert result.code == 0 and 'End of training' in result.err and 'Stopped' not in result.err
    assert (RUN / 'models/net_g_latest.pth').is_file()


@pytest.mark.parametrize('image, iteration', [(2, 2), (7, 4), (10, 5)])
def test_a_validation_that_a_signal_ends_is_made_up_for(
        image: int, iteration: int, train_options: Callable[..., str], vapsr: Callable[..., Finished],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """After iterations 2, which is saved before, and 4 and 5, which are not; 5 is the last. The PSNR that counts is the first."""
    options = train_options(train={'total_iter': 5}, val={'val_freq': 2, 'metrics': {'psnr': {'better': 'lower'}}},
                            logger={'save_checkpoint_freq': 2 if iteration == 2 else 3})
    figures = re.findall(r'# psnr: (\S+)', vapsr('train', '-opt', options).err)
    undisturbed = network(), network('best_psnr')
    with monkeypatch.context() as patch:
        signal_at_image(patch, image)
        stopped = vapsr('train', '-opt', options)
    said = 'All 5 iterations are done and saved' if iteration == 5 else f'after iteration {iteration}; resume with --auto_resume'
    assert stopped.code == 128 + signal.SIGTERM and said in stopped.err
    assert ('net_g_latest.pth' in os.listdir(RUN / 'models')) == (iteration == 5)
    assert f'{iteration}.state' in states()
    resumed = vapsr('train', '-opt', options, '--auto_resume')
    assert resumed.code == 0 and f'iter: {iteration}.' in resumed.err
    assert re.findall(r'# psnr: (\S+)', stopped.err + resumed.err) == figures
    assert (network(), network('best_psnr')) == undisturbed


def test_auto_resume_skips_what_is_not_complete(train_options: Callable[..., str],
                                                      vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(train={'total_iter': 6}, logger={'save_checkpoint_freq': 1}))
    undisturbed = network()
    (RUN / 'training_states/6.state').write_bytes((RUN / 'training_states/6.state').read_bytes()[:-100])
    (RUN / 'models/net_g_5.pth').unlink()
    (RUN / 'models/net_g_4.pth').write_bytes(b'half')
    content = torch.load(RUN / 'models/net_g_3.pth')
    content['params']['conv_first.weight'][0, 0] = torch.nan
    torch.save(content, RUN / 'models/net_g_3.pth')
    changed = bytearray((RUN / 'training_states/2.state').read_bytes())
    changed[len(changed) // 2] ^= 1
    (RUN / 'training_states/2.state').write_bytes(changed)
    (RUN / 'training_states/.7.tmp-abcdefgh.state').touch()  # a killed run's
    result = vapsr('train', '-opt', train_options(train={'total_iter': 6}), '--auto_resume')
    assert result.code == 0 and 'iter: 1.' in result.err
    for words in ('6.state is skipped: ', '6.state is not a training state of BasicSR, or is damaged',
                  '5.state is skipped: ', 'net_g_5.pth, is missing', 'net_g_4.pth is not a checkpoint',
                  'net_g_3.pth, has weights that are not finite', '2.state is skipped: ',
                  '2.state is not a training state of BasicSR, or is damaged: the sum of'):
        assert words in result.out
    assert network() == undisturbed
    assert not list(RUN.rglob('.*'))


def test_no_complete_state_is_an_error(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(train={'total_iter': 2}))
    (RUN / 'models/net_g_2.pth').unlink()
    result = vapsr('train', '-opt', train_options(), '--auto_resume')
    assert result.code == 1
    assert 'not one of 1 training states can be resumed; to start again, leave --auto_resume out' in result.err
    assert states() == ['2.state']


def test_states_of_basicsr_are_resumed(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its network as BasicSR saves them."""
    options = train_options(train={'scheduler': {'milestones': [1]}})
    with monkeypatch.context() as patch:
        patch.setattr(VapSRModel, 'save', SRModel.save)
        vapsr('train', '-opt', options)
    assert torch.load(RUN / 'training_states/2.state', weights_only=False).keys() == {
        'epoch', 'iter', 'optimizers', 'schedulers'}
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert result.code == 0 and 'iter 3/3, ' in result.err and 'lr 1.000e-04, ' in result.err
    assert "The training state is BasicSR's own: it lacks the position in the epoch, which begins again" in result.err


def test_changed_options_are_used_and_logged(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options())
    (RUN / 'training_states/3.state').unlink()
    result = vapsr('train', '-opt', train_options(
        train={'optim_g': {'lr': 8e-4}, 'scheduler': {'milestones': [1, 2], 'gamma': 0.5}},
        datasets={'train': {'batch_size_per_gpu': 1, 'num_worker_per_gpu': 1}}), '--auto_resume')
    assert result.code == 0
    said = next(line for line in result.err.splitlines() if 'The options are not those' in line)
    assert said.endswith(
        'datasets.train.batch_size_per_gpu: 2 -> 1; train.optim_g.lr: 0.001 -> 0.0008; train.scheduler.milestones: '
        '[100] -> [1, 2]; train.scheduler.gamma: not set -> 0.5')
    assert 'lr 2.000e-04, ' in result.err  # both milestones are past at iteration 3


def test_a_later_end_is_logged_and_changes_nothing_else(train_options: Callable[..., str],
                                                      vapsr: Callable[..., Finished]) -> None:
    """Neither the learning rate, which a milestone has lowered, nor what the guard has seen."""
    changes = {'scheduler': {'milestones': [2]}, 'warmup_iter': 2}
    vapsr('train', '-opt', train_options(train={'total_iter': 6, **changes}))
    undisturbed = network()
    vapsr('train', '-opt', train_options(train={'total_iter': 4, **changes}))
    result = vapsr('train', '-opt', train_options(train={'total_iter': 6, **changes}), '--auto_resume')
    assert result.code == 0 and network() == undisturbed
    said, = [line for line in result.err.splitlines() if 'The options are not those' in line]
    assert said.endswith('and the new ones are used: train.total_iter: 4 -> 6')


@pytest.mark.parametrize('changes, words', [
    ({'optim_g': {'amsgrad': True}}, 'train.optim_g.amsgrad is not what the training state was saved with'),
    ({'total_iter': 1}, '3.state is of iteration 3, beyond train.total_iter 1: raise total_iter'),
])
def test_a_state_that_does_not_fit_is_refused_before_anything_is_written(
        changes: dict, words: str, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options())
    before = {path: path.stat().st_mtime_ns for path in RUN.parent.rglob('*')}
    result = vapsr('train', '-opt', train_options(train=changes), '--auto_resume')
    assert result.code == 1 and words in result.err and 'Traceback' not in result.err
    assert {path: path.stat().st_mtime_ns for path in RUN.parent.rglob('*')} == before


def test_a_seed_that_was_drawn_is_kept(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    options = train_options(manual_seed=None, train={'total_iter': 4}, datasets={'train': {'dataset_enlarge_ratio': 4}})
    vapsr('train', '-opt', options)
    undisturbed = network()
    for path in RUN.rglob('*4.*'):
        path.unlink()
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert 'iter: 2.' in result.err and 'The options are not' not in result.err
    assert network() == undisturbed


def test_keep_last(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(train={'total_iter': 5}, val=None,
                                                  logger={'keep_last': 2, 'save_checkpoint_freq': 1}))
    assert result.code == 0
    assert states() == ['4.state', '5.state']
    assert sorted(path.name for path in (RUN / 'models').iterdir()) == ['net_g_4.pth', 'net_g_5.pth', 'net_g_latest.pth']


def test_keep_last_spares_the_pair_just_saved(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(train={'total_iter': 4}))
    (RUN / 'training_states/4.state').write_bytes(b'')
    vapsr('train', '-opt', train_options(logger={'keep_last': 1, 'save_checkpoint_freq': 1}), '--auto_resume')
    assert states() == ['3.state', '4.state']  # iteration 4 of the earlier run is not older than 3


def test_best_checkpoint_and_metrics_outlast_a_stop(train_options: Callable[..., str],
                                                    vapsr: Callable[..., Finished]) -> None:
    options = train_options(train={'total_iter': 4, 'optim_g': {'lr': 0.1}}, val={'val_freq': 2})
    vapsr('train', '-opt', options)
    first, best = (torch.load(RUN / f'training_states/{iteration}.state', weights_only=False)['best_metrics']['photos']['psnr'][
        'iter'] for iteration in (2, 4))
    assert first == 2 and best in (2, 4)
    assert network('best_psnr') == network(best)
    for path in RUN.rglob('*4.*'):
        path.unlink()
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert f'@ {best} iter' in result.err
    assert network('best_psnr') == network(best)


def test_best_checkpoints_of_several_sets_name_them(train_options: Callable[..., str],
                                                    vapsr: Callable[..., Finished]) -> None:
    data = {'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR', 'dataroot_lq': 'datasets/photos/LR',
            'io_backend': {'type': 'disk'}}
    vapsr('train', '-opt', train_options(datasets={'val': data | {'name': 'a'}, 'val_1': data | {'name': 'b'}}))
    assert {'net_g_best_psnr_a.pth', 'net_g_best_psnr_b.pth'} <= {path.name for path in (RUN / 'models').iterdir()}


def test_a_disk_too_small_is_found_before_the_start(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('usage', (), {'free': 10_000}))
    result = vapsr('train', '-opt', train_options())
    assert result.code == 1 and 'l_pix' not in result.err
    assert 'experiments/small: 0 MB are free, but the checkpoints and states to come take' in result.err


def test_a_disk_that_a_run_fits_on_is_enough_for_resuming(
        train_options: Callable[..., str], vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has saved takes the place of what is to come."""
    changes = {'val': {'val_freq': 2}, 'logger': {'save_checkpoint_freq': 1, 'keep_last': 2}}
    vapsr('train', '-opt', train_options(train={'total_iter': 4}, **changes))
    pair = sum(path.stat().st_size for path in RUN.rglob('*4.*'))
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('usage', (), {'free': 2 * pair}))
    assert vapsr('train', '-opt', train_options(train={'total_iter': 99}, **changes)).code == 1
    assert not list(RUN.parent.glob('small_archived_*'))  # the refused run has left the first one alone
    assert vapsr('train', '-opt', train_options(train={'total_iter': 6}, **changes), '--auto_resume').code == 0


def test_checkpoints_that_are_not_finite_are_not_trained(train_options: Callable[..., str], test_options: Callable[..., str],
                                                         vapsr: Callable[..., Finished]) -> None:
    test_options()
    params = torch.load('net.pth')['params']
    torch.save({'params': {name: tensor * torch.nan for name, tensor in params.items()}}, 'net.pth')
    result = vapsr('train', '-opt', train_options(path={'pretrain_network_g': 'net.pth'}))
    assert result.code == 1 and result.err.endswith('Error: net.pth has weights that are not finite\n')


def test_metrics_may_change_on_resuming(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(val={'val_freq': 2}))
    ssim = {'type': 'calculate_ssim', 'crop_border': 2}
    result = vapsr('train', '-opt', train_options(train={'total_iter': 4}, val={'val_freq': 2, 'metrics': {'ssim': ssim}}),
                   '--auto_resume')
    assert result.code == 0 and '# ssim' in result.err
