"""What image data sets refuse, pass over and say, through the commands; what their samples are."""

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch

from tests.conftest import Finished, photograph
from vapsr_arch.data.image_datasets import CheckedPairedImageDataset
from vapsr_arch.errors import VapsrError

HR, LR = Path('datasets/photos/HR'), Path('datasets/photos/LR')


def rewrite(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / 'Thumbs.db').touch()


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    'not an image': (lambda: (LR / '1.png').write_text('hello'), 'LR/1.png is not an image'),
    'cut off': (lambda: cut_off(HR / '2.png'), 'HR/2.png cannot be decoded: the file is damaged'),
    'no LR partner': ((LR / '3.png').unlink, 'HR/3.png has no partner: no image named 3 in datasets/photos/LR'),
    'no HR partner': ((HR / '0.png').unlink, 'LR/0.png has no partner: no HR image of its name'),
    'wrong size': (lambda: rewrite(LR / '1.png', photograph(9, 24, 0)),
                   'LR/1.png is 9x24 (height x width), but datasets/photos/HR/1.png is 48x48: for x2 the LR image must be 24x24'),
    'empty folder': (lambda: empty(LR), 'datasets/photos/LR: the folder has no image'),
    'missing folder': (lambda: shutil.rmtree(HR), 'there is no datasets/photos/HR'),
    'same stem': (lambda: rewrite(HR / '1.bmp', photograph(48, 48, 0)), '1.bmp, 1.png have the same name'),
}


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_one_sentence_before_the_network_runs(name: str, test_options: Callable[..., str],
                                                         vapsr: Callable[..., Finished]) -> None:
    break_it, words = FAULTS[name]
    break_it()
    result = vapsr('test', '-opt', test_options())
    assert result.code == 1
    last = result.err.strip().splitlines()[-1]
    assert last.startswith('Error: ') and words in last
    assert 'Network' not in result.err and 'Traceback' not in result.err


def test_hr_of_training_must_be_a_multiple_of_the_scale(train_options: Callable[..., str],
                                                        vapsr: Callable[..., Finished]) -> None:
    rewrite(HR / '0.png', photograph(41, 48, 0))
    result = vapsr('train', '-opt', train_options())
    assert result.code == 1 and 'HR/0.png is 41x48, not a multiple of the scale 2' in result.err


def test_hr_smaller_than_the_crop(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(datasets={'train': {'gt_size': 46}}))
    assert result.code == 1 and 'HR/0.png is 40x48, smaller than gt_size 46' in result.err


def test_hr_of_a_test_may_be_larger_by_less_than_the_scale(test_options: Callable[..., str],
                                                           vapsr: Callable[..., Finished]) -> None:
    rewrite(HR / '0.png', photograph(41, 49, 0))
    assert vapsr('test', '-opt', test_options()).code == 0


@pytest.mark.parametrize('workers, prefetch', [(0, None), (1, None), (0, 'cpu')])
def test_image_damaged_during_training_is_named(workers: int, prefetch: str | None, train_options: Callable[..., str],
                                                vapsr: Callable[..., Finished]) -> None:
    for path in HR.iterdir():
        cut_off(path)  # headers stay whole, so that only reading finds it
    options = train_options(datasets={'train': {'num_worker_per_gpu': workers, 'prefetch_mode': prefetch}, 'val': None})
    Path(options).write_text(Path(options).read_text().replace('  val: null\n', ''))
    result = vapsr('train', '-opt', options)
    assert result.code == 1
    last = result.err.strip().splitlines()[-1]
    assert last.startswith('Error: datasets/photos/HR/') and 'cannot be decoded' in last


def test_stray_files_are_passed_over_with_a_warning(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    (HR / 'notes.txt').touch()
    (LR / '.DS_Store').touch()
    result = vapsr('test', '-opt', test_options())
    assert result.code == 0 and 'datasets/photos/HR: skipped, of no format that is read: notes.txt' in result.err


def test_16_bit_and_alpha_say_what_is_done(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    rewrite(HR / '0.png', photograph(40, 48, 0).astype(np.uint16) * 257)
    rewrite(HR / '1.png', cv2.cvtColor(photograph(48, 48, 1), cv2.COLOR_BGR2BGRA))
    result = vapsr('test', '-opt', test_options())
    assert result.code == 0
    assert '1 of 8 images have 16 bits a channel and are read as 8 bits' in result.err
    assert '1 of 8 images have an alpha channel, which is left out' in result.err


def options(**more) -> dict:
    return {'name': 'photos', 'phase': 'val', 'scale': 2, 'dataroot_gt': str(HR), 'dataroot_lq': str(LR),
            'io_backend': {'type': 'disk'}, **more}


def test_samples_are_rgb_in_the_order_of_names(workspace: Path) -> None:
    dataset = CheckedPairedImageDataset(options())
    assert [Path(dataset[index]['gt_path']).name for index in range(4)] == ['0.png', '1.png', '2.png', '3.png']
    sample = dataset[1]
    expected = cv2.cvtColor(cv2.imread(str(HR / '1.png')), cv2.COLOR_BGR2RGB)
    assert torch.equal((sample['gt'] * 255).round().byte(), torch.from_numpy(expected).permute(2, 0, 1))
    assert sample['lq'].shape == (3, 24, 24)


def test_grey_images_are_three_equal_channels(workspace: Path) -> None:
    rewrite(HR / '0.png', photograph(40, 48, 0)[..., 0])
    gt = CheckedPairedImageDataset(options())[0]['gt']
    assert torch.equal(gt[0], gt[1]) and torch.equal(gt[0], gt[2])


def test_crops_of_training_belong_together(workspace: Path) -> None:
    for index in range(4):  # LR is HR's every second pixel: a crop of one determines the crop of the other
        rewrite(LR / f'{index}.png', cv2.imread(str(HR / f'{index}.png'))[::2, ::2])
    dataset = CheckedPairedImageDataset(options(phase='train', gt_size=16, use_hflip=False, use_rot=False))
    for index in range(4):
        sample = dataset[index]
        assert sample['gt'].shape == (3, 16, 16)
        assert torch.equal(sample['gt'][:, ::2, ::2], sample['lq'])


def test_template_of_lr_names(workspace: Path) -> None:
    for path in list(LR.iterdir()):
        path.rename(path.with_name(f'{path.stem}x2.png'))
    assert len(CheckedPairedImageDataset(options(filename_tmpl='{}x2'))) == 4


def test_meta_info_file_chooses_the_images(workspace: Path) -> None:
    Path('list.txt').write_text('2.png (56,48,3)\n0.png (40,48,3)\n')
    dataset = CheckedPairedImageDataset(options(meta_info_file='list.txt'))
    assert [Path(pair.gt).name for pair in dataset.pairs] == ['2.png', '0.png']
    Path('list.txt').write_text('7.png (56,48,3)\n')
    with pytest.raises(VapsrError, match=r'7.png: there is no such image'):
        CheckedPairedImageDataset(options(meta_info_file='list.txt'))


@pytest.mark.parametrize('text', ['\ufeff2.png (56,48,3)\n0.png (40,48,3)', '2.png (56,48,3)\r\n0.png (40,48,3)\r\n',
                                  '2.png\n\n0.png x\n'])
def test_meta_info_files_as_other_programs_write_them(text: str, workspace: Path) -> None:
    Path('list.txt').write_text(text, encoding='utf-8', newline='')
    dataset = CheckedPairedImageDataset(options(meta_info_file='list.txt'))
    assert [Path(pair.gt).name for pair in dataset.pairs] == ['2.png', '0.png']


@pytest.mark.parametrize('line', ['my photo (1).png (56,48,3)', 'my photo (1).png'])
def test_meta_info_names_with_spaces(line: str, workspace: Path) -> None:
    for folder in (HR, LR):
        (folder / '2.png').rename(folder / 'my photo (1).png')
    Path('list.txt').write_text(line)
    pair, = CheckedPairedImageDataset(options(meta_info_file='list.txt')).pairs
    assert Path(pair.gt).name == Path(pair.lq).name == 'my photo (1).png'


def test_a_list_that_is_no_text(workspace: Path) -> None:
    Path('list.txt').write_bytes(b'2\0.png')
    with pytest.raises(VapsrError, match=r'list.txt: the list of images cannot be read: it is not text'):
        CheckedPairedImageDataset(options(meta_info_file='list.txt'))


def make_lmdb(folder: Path, images: Path, names: list[str]) -> None:
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for name in names:
            transaction.put(name.encode(), (images / f'{name}.png').read_bytes())
    sizes = {name: cv2.imread(str(images / f'{name}.png')).shape for name in names}
    (folder / 'meta_info.txt').write_text(''.join(f'{name}.png ({h},{w},{c}) 1\n' for name, (h, w, c) in sizes.items()))


def test_lmdb_gives_the_samples_of_the_folders(workspace: Path) -> None:
    for folder in (HR, LR):
        make_lmdb(Path(f'{folder}.lmdb'), folder, ['0', '1', '2', '3'])
    of_lmdb = CheckedPairedImageDataset(options(dataroot_gt=f'{HR}.lmdb', dataroot_lq=f'{LR}.lmdb',
                                                io_backend={'type': 'lmdb'}))
    of_folder = CheckedPairedImageDataset(options())
    for index in range(4):
        assert torch.equal(of_lmdb[index]['gt'], of_folder[index]['gt'])
        assert torch.equal(of_lmdb[index]['lq'], of_folder[index]['lq'])


def test_one_lmdb_serves_two_data_sets_and_their_workers(train_options: Callable[..., str],
                                                         vapsr: Callable[..., Finished]) -> None:
    for folder in (HR, LR):
        make_lmdb(Path(f'{folder}.lmdb'), folder, ['0', '1', '2', '3'])
    same = {'dataroot_gt': f'{HR}.lmdb', 'dataroot_lq': f'{LR}.lmdb', 'io_backend': {'type': 'lmdb'}}
    result = vapsr('train', '-opt', train_options(datasets={'train': same | {'num_worker_per_gpu': 1}, 'val': same}))
    assert result.code == 0, result.err


def test_workers_know_what_training_has_imported(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 starts processes from a server that has imported nothing, by default."""
    monkeypatch.setattr(multiprocessing.context._default_context, '_actual_context', multiprocessing.get_context('forkserver'))
    result = vapsr('train', '-opt', train_options(datasets={'train': {'num_worker_per_gpu': 1}}))
    assert result.code == 0, result.err


def test_lmdb_faults(workspace: Path) -> None:
    make_lmdb(Path(f'{HR}.lmdb'), HR, ['0', '1'])
    make_lmdb(Path(f'{LR}.lmdb'), LR, ['0'])
    arguments = dict(dataroot_gt=f'{HR}.lmdb', io_backend={'type': 'lmdb'})
    with pytest.raises(VapsrError, match=r'1 of .*HR.lmdb has no partner in .*LR.lmdb'):
        CheckedPairedImageDataset(options(dataroot_lq=f'{LR}.lmdb', **arguments))
    with pytest.raises(VapsrError, match=r'is not an LMDB of images'):
        CheckedPairedImageDataset(options(**arguments))


def test_images_without_ground_truth_are_upscaled(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    path = test_options(datasets={'test': {'type': 'SingleImageDataset', 'dataroot_gt': None}}, val={'save_img': True})
    result = vapsr('test', '-opt', path)
    assert result.code == 0 and 'photos: no ground truth, nothing measured' in result.err
    assert cv2.imread('results/small/visualization/photos/1_small.png').shape == (48, 48, 3)
    cut_off(LR / '2.png')
    result = vapsr('test', '-opt', path)
    assert result.code == 1 and 'LR/2.png cannot be decoded' in result.err
