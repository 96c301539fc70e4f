"""From photographs to 20 iterations of training, with the commands alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.forked import run_forked


@pytest.fixture(scope='module')
def folder(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photographs of BSDS400, through lr, subimages, lmdb, pack and check."""
    folder = tmp_path_factory.mktemp('chain')
    (folder / 'HR').mkdir()
    for path in sorted((reference / 'data/BSDS400').glob('*.jpg'))[:10]:
        shutil.copy(path, folder / 'HR')
    for command in ('lr HR out --scale 4 --cut-hr', 'subimages out/HR HR_sub --size 240 --step 120 --workers 1',
                    'subimages out/X4 LR_sub --size 60 --step 30 --workers 1',
                    'lmdb HR_sub HR_sub.lmdb --workers 1', 'lmdb LR_sub LR_sub.lmdb --workers 1',
                    'pack HR_sub HR_sub.pack --workers 1', 'pack LR_sub LR_sub.pack --workers 1'):
        vapsr(folder, 'data', *command.split())
    return folder


def vapsr(folder: Path, *arguments: str) -> str:
    """Runs the command line in a process of its own; returns what it printed to stdout."""
    process = run_forked('from vapsr_arch.cli import main; main()', arguments, folder)
    assert process.returncode == 0, (process.stdout, process.stderr)
    return process.stdout.decode()


def trained(kind: str, dataset: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    """The weights after 20 iterations."""
    train = dataset | {'name': 'chain', 'dataroot_gt': f'HR_sub.{kind}', 'dataroot_lq': f'LR_sub.{kind}', 'gt_size': 48,
                       'use_hflip': True, 'use_rot': True, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2}
    options = {
        'name': kind, 'model_type': 'VapSRModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': 1, 'datasets': {'train': train},
        'network_g': {'type': 'VapSR', 'scale': 4, 'num_feat': 8, 'num_block': 1, 'd_atten': 16},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'scheduler': {'type': 'MultiStepLR', 'milestones': [15]},
                  'total_iter': 20, 'pixel_opt': {'type': 'L1Loss'}},
        'logger': {'print_freq': 10, 'save_checkpoint_freq': 20}}
    (folder / f'{kind}.yml').write_text(yaml.safe_dump(options))
    assert '60 HR images checked, no faults' in vapsr(folder, 'data', 'check', '-opt', f'{kind}.yml', '--workers', '1')
    vapsr(folder, 'train', '-opt', f'{kind}.yml')
    return torch.load(folder / f'experiments/{kind}/models/net_g_20.pth', weights_only=True)['params']


def test_twenty_iterations_are_the_same_from_lmdbs_and_packs(folder: Path) -> None:
    from_lmdb = trained('lmdb', {'type': 'PairedImageDataset', 'io_backend': {'type': 'lmdb'}}, folder)
    from_pack = trained('pack', {'type': 'PairedPackDataset'}, folder)
    assert all(torch.equal(from_lmdb[key], from_pack[key]) for key in from_lmdb)
