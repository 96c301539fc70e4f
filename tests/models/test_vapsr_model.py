"""VapSRModel through the commands: devices, checkpoints, validation."""

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
import yaml

from tests.conftest import Finished
from vapsr_arch.errors import VapsrError
from vapsr_arch.models.vapsr_model import VapSRModel
from vapsr_arch.options.reading import load_options


def test_gpus_that_are_not_there(test_options: Callable[..., str], vapsr: Callable[..., Finished],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    result = vapsr('test', '-opt', test_options(num_gpu=2))
    assert result.code == 2
    assert result.err == ('Error: test.yml: num_gpu: 2 asked for, but torch finds 0 CUDA GPUs here; `auto` uses what is '
                          'there, 0 is the CPU\n')
    with pytest.raises(VapsrError, match='num_gpu: 1 asked for, but torch finds 0 CUDA GPUs here'):
        VapSRModel({'num_gpu': 1, 'is_train': False})


def test_auto_uses_what_is_there(test_options: Callable[..., str], vapsr: Callable[..., Finished],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert vapsr('test', '-opt', test_options(num_gpu='auto')).code == 0


def test_a_test_without_a_checkpoint_is_refused(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options(path={'pretrain_network_g': None}))
    assert result.code == 1
    assert result.err.endswith('Error: small: a test needs a checkpoint: set path.pretrain_network_g\n')


@pytest.mark.parametrize('path, words', [
    ({'pretrain_network_g': 'none.pth'}, 'none.pth: there is no such checkpoint'),
    ({'param_key_g': 'params_ema'}, "net.pth has no weights under 'params_ema'; it has 'params'"),
])
def test_checkpoint_faults(path: dict, words: str, test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options(path=path))
    assert result.code == 1 and result.err.strip().splitlines()[-1] == f'Error: {words}'


def test_checkpoint_of_another_scale(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = test_options(network_g={'num_feat': 12})
    result = vapsr('test', '-opt', options)
    assert result.code == 1
    assert 'net.pth does not fit VapSR: conv_first.weight differs in shape (file and network: 8x3x3x3 and 12x3x3x3); the ' \
           'file is a VapSR(' in result.err


def test_rows_and_mean_of_a_test(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options())
    assert result.code == 0
    with open('results/small/photos.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == ['0', '1', '2', '3']
    mean = sum(float(row['psnr']) for row in rows) / 4
    assert f'# psnr: {mean:.4f}' in result.err
    assert 'Best' not in result.err  # a single test has no best iteration


def test_images_are_saved_with_the_suffix(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('test', '-opt', test_options(val={'save_img': True, 'suffix': 'x2'}))
    assert {path.name for path in Path('results/small/visualization/photos').iterdir()} == {f'{i}_x2.png' for i in range(4)}


def test_a_test_without_val_runs(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    assert vapsr('test', '-opt', test_options(val=None)).code == 0


def test_training_starts_from_the_ema_of_a_checkpoint(train_options: Callable[..., str], test_options: Callable[..., str],
                                                      vapsr: Callable[..., Finished]) -> None:
    test_options()
    params = torch.load('net.pth')['params']
    ema = {name: tensor + 1 for name, tensor in params.items()}
    torch.save({'params': params, 'params_ema': ema}, 'both.pth')
    options = train_options(path={'pretrain_network_g': 'both.pth'}, train={'total_iter': 1, 'optim_g': {'lr': 1e-9}})
    assert vapsr('train', '-opt', options).code == 0
    saved = torch.load('experiments/small/models/net_g_latest.pth')
    for key in ('params', 'params_ema'):
        torch.testing.assert_close(saved[key]['conv_first.weight'], ema['conv_first.weight'], atol=1e-6, rtol=0)


def test_images_are_written_whole_or_not_at_all(test_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr('vapsr_arch.files._flush', full)
    result = vapsr('test', '-opt', test_options(val={'save_img': True}))
    assert result.code == 1
    assert result.err.endswith('results/small/visualization/photos/0_small.png: No space left on device\n')
    assert not [path for path in Path('results/small/visualization').rglob('*') if path.is_file()]


def test_tiles_and_self_ensemble_of_a_test(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """Tiles change nothing; the mean over flips and rotations is another image."""
    images = {}
    for name, val in {'whole': {}, 'tiles': {'tile': 2}, 'mean': {'self_ensemble': True},
                      'both': {'tile': 2, 'self_ensemble': True}}.items():
        result = vapsr('test', '-opt', test_options(name=name, val={**val, 'save_img': True}))
        assert result.code == 0, result.err
        folder = Path(f'results/{name}/visualization/photos')
        images[name] = [cv2.imread(str(folder / f'{index}_{name}.png')).astype(int) for index in range(4)]
    for one, other in (('whole', 'tiles'), ('mean', 'both')):  # a value halfway between two may be rounded to either
        assert max(abs(a - b).max() for a, b in zip(images[one], images[other])) <= 1
        assert sum((a != b).sum() for a, b in zip(images[one], images[other])) < 5
    assert any((a != b).any() for a, b in zip(images['whole'], images['mean']))


def test_the_mean_over_flips_and_rotations(test_options: Callable[..., str]) -> None:
    """In which an image that is turned comes out turned."""
    model = VapSRModel({**load_options(test_options(), False), 'is_train': False, 'dist': False, 'val': {'self_ensemble': True}})
    model.lq = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    outputs = []
    for lq in (model.lq, model.lq.mT.flip(2)):
        model.lq = lq
        model.test()
        outputs.append(model.output)
    torch.testing.assert_close(outputs[0].mT.flip(2), outputs[1])


def test_tiles_in_training(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    figures = [[line for line in vapsr('train', '-opt', train_options(val=val)).err.splitlines() if '# psnr' in line]
               for val in ({}, {'tile': 4})]
    assert figures[0] == figures[1] and figures[0]


def test_tiles_of_a_network_without_a_halo_are_refused(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    path = Path(train_options(val={'tile': 64}))
    options = yaml.safe_load(path.read_text())
    options['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 2}
    path.write_text(yaml.safe_dump(options))
    result = vapsr('train', '-opt', str(path))
    assert result.code == 1 and 'Error: val.tile: EDSR has no known halo' in result.err
    assert not Path('experiments').exists()
