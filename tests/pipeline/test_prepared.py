"""A start that fails leaves everything as it was: nothing new, and no older run archived."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import Finished
from vapsr_arch.data.image_datasets import CheckedPairedImageDataset
from vapsr_arch.models.vapsr_model import VapSRModel


def files() -> dict[str, str]:
    """What lies under the current folder: folders, and files with their sums; compiled plugins aside."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else '' for path in Path().rglob('*')
            if '__pycache__' not in path.parts}


def missing_image(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    Path('datasets/photos/LR/2.png').unlink()
    return {}


def damaged_image(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    os.truncate('datasets/photos/LR/3.png', 60)
    return {}


def wrong_scale(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    cv2.imwrite('datasets/photos/LR/0.png', np.zeros((10, 12, 3), np.uint8))
    return {}


def other_networks_checkpoint(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    torch.save({'params': {'conv.weight': torch.zeros(3)}}, 'other.pth')
    return {'path': {'pretrain_network_g': 'other.pth'}}


def no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {'path': {'pretrain_network_g': 'none.pth'}}


def full_disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: type('usage', (), {'free': 10_000}))
    return {}


def plugin_that_fails(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    Path('broken_plugin.py').write_text('import nonsense_that_is_not_there\n')
    return {'plugins': ['broken_plugin.py']}


def too_few_images(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {'datasets': {'train': {'batch_size_per_gpu': 9}}}


def misspelt_path(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {'datasets': {'val': {'dataroot_gt': 'datasets/photo/HR'}}}


FAULTS = {
    missing_image: 'has no partner', damaged_image: '3.png', wrong_scale: 'must be', other_networks_checkpoint: 'other.pth',
    no_checkpoint: 'none.pth', full_disk: 'free', plugin_that_fails: 'nonsense_that_is_not_there',
    too_few_images: 'do not fill one batch', misspelt_path: 'datasets/photo/HR'}


@pytest.mark.parametrize('earlier', [False, True], ids=['the first', 'after another'])
@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.__name__)
def test_a_start_that_fails(fault: Callable, earlier: bool, train_options: Callable[..., str],
                            vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    if earlier:
        assert vapsr('train', '-opt', train_options(logger={'use_tb_logger': True})).code == 0
    changes = fault(monkeypatch)
    options = train_options(logger={'use_tb_logger': True}, **changes)
    before = files()
    result = vapsr('train', '-opt', options)
    assert result.code in (1, 2) and FAULTS[fault] in result.err and 'Traceback' not in result.err
    assert files() == before


@pytest.mark.parametrize('fault', [missing_image, misspelt_path], ids=lambda fault: fault.__name__)
def test_a_run_that_cannot_be_resumed(fault: Callable, train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    assert vapsr('train', '-opt', train_options()).code == 0
    options = train_options(train={'total_iter': 5}, **fault(monkeypatch))
    before = files()
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert result.code == 1 and FAULTS[fault] in result.err
    assert files() == before


@pytest.mark.parametrize('fault', [missing_image, damaged_image, wrong_scale, other_networks_checkpoint, no_checkpoint,
                                   full_disk, plugin_that_fails], ids=lambda fault: fault.__name__)
def test_a_test_that_fails(fault: Callable, test_options: Callable[..., str], vapsr: Callable[..., Finished],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    test_options()
    changes = fault(monkeypatch)
    options = test_options(**changes)
    before = files()
    result = vapsr('test', '-opt', options)
    assert result.code in (1, 2) and FAULTS[fault] in result.err and 'Traceback' not in result.err
    assert files() == before


def test_a_test_that_fails_leaves_earlier_results(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    assert vapsr('test', '-opt', test_options()).code == 0
    options = test_options(path={'pretrain_network_g': 'none.pth'})
    before = files()
    assert vapsr('test', '-opt', options).code == 1
    assert files() == before


def test_the_log_file_has_what_was_logged_before_it(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """The data sets and the checkpoint are read before there is a folder for it; a resumed run has a log of its own."""
    vapsr('train', '-opt', train_options(train={'total_iter': 2}))
    log, = Path('experiments/small').glob('train_small_*.log')
    lines = [line.partition('INFO: ')[2] for line in log.read_text().splitlines()]
    assert lines.count('datasets.val: photos, 4 images') == 1 and '(conv_first): Conv2d(3, 8' in log.read_text()
    assert lines.count('Model [VapSRModel] is created.') == 1
    assert sum('l_pix' in line for line in lines) == 2
    log.unlink()
    vapsr('train', '-opt', train_options(), '--auto_resume')
    log, = Path('experiments/small').glob('train_small_*.log')
    assert 'key params\n' in log.read_text() and 'iter 3/3' in log.read_text() and 'iter 2/3' not in log.read_text()


def test_sets_that_are_not_there_are_skipped(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    photos = {'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR', 'dataroot_lq': 'datasets/photos/LR',
              'io_backend': {'type': 'disk'}}
    absent = {'test_1': photos | {'name': 'Set14', 'dataroot_gt': 'datasets/Set14/HR'},
              'test_2': photos | {'name': 'B100', 'dataroot_lq': 'datasets/B100/LR'}}
    result = vapsr('test', '-opt', test_options(datasets=absent))
    assert result.code == 0
    assert 'Set14 is skipped: there is no datasets/Set14/HR\n' in result.out
    assert 'B100 is skipped: there is no datasets/B100/LR\n' in result.out
    assert [path.name for path in Path('results/small').glob('*.csv')] == ['photos.csv']
    options = test_options(datasets={'test': {'dataroot_gt': 'datasets/Set5/HR'}, **absent})
    before = files()
    result = vapsr('test', '-opt', options)
    assert result.code == 1 and files() == before
    assert result.err.splitlines()[-1] == (
        'Error: test.yml: not one of its sets is there: there is no datasets/Set5/HR, no datasets/Set14/HR, no '
        'datasets/B100/LR: correct the paths; `vapsr data fetch` downloads the public sets')


def test_a_test_builds_its_sets_and_its_model_once(test_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    for each in (VapSRModel, CheckedPairedImageDataset):
        def build(self: Any, *arguments: Any, build: Callable = each.__init__) -> None:
            built.append(type(self).__name__)
            build(self, *arguments)
        monkeypatch.setattr(each, '__init__', build)
    assert vapsr('test', '-opt', test_options()).code == 0
    assert sorted(built) == ['CheckedPairedImageDataset', 'VapSRModel']


def test_folders_archived_in_one_second(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ('basicsr.utils', 'basicsr.utils.misc'):
        monkeypatch.setattr(f'{module}.get_time_str', lambda: 'NOW')
    for number in range(3):
        result = vapsr('train', '-opt', train_options(train={'total_iter': 1}, logger={'use_tb_logger': True}))
        assert result.code == 0, result.err
        for parent in ('experiments', 'tb_logger'):
            Path(parent, 'small', str(number)).touch()
    for parent in ('experiments', 'tb_logger'):
        for name, number in (('small_archived_NOW', 0), ('small_archived_NOW_2', 1), ('small', 2)):
            assert Path(parent, name, str(number)).is_file()
