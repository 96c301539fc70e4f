"""`vapsr data check`: every fault, all at once."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.conftest import photograph
from vapsr_arch.data.lmdb_store import make_lmdb
from vapsr_arch.data.lr import make_lr
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.data.packing import make_pack

Vapsr = Callable[..., tuple[int, str]]


@pytest.fixture
def pairs(photographs: Path, tmp_path: Path) -> tuple[Path, Path]:
    make_lr([photographs], tmp_path / 'out', [4], cut_hr=True, workers=1)
    return tmp_path / 'out/HR', tmp_path / 'out/X4'


def test_pairs_without_fault(pairs: tuple[Path, Path], vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('data', 'check', '--gt', pairs[0], '--lq', pairs[1], '--scale', 4, '--workers', 1)
    assert code == 0 and '4 HR images checked, no faults' in output


def test_all_faults_at_once(pairs: tuple[Path, Path], tmp_path: Path, vapsr_output: Vapsr) -> None:
    hr, lr = pairs
    test_set = tmp_path / 'test'
    test_set.mkdir()
    image = cv2.imread(str(hr / 'b.png'))  # 48 x 64
    cv2.imwrite(str(test_set / 'uncut.png'), cv2.copyMakeBorder(image, 0, 5, 0, 3, cv2.BORDER_REFLECT))
    cv2.imwrite(str(lr / 'b.png'), np.zeros((12, 15, 3), np.uint8))
    (lr / 'a.png').write_bytes((lr / 'a.png').read_bytes()[:-200])
    (lr / 'c.png').unlink()
    cv2.imwrite(str(lr / 'more.png'), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(hr / 'd.bmp'), np.zeros((50, 60, 3), np.uint8))
    (hr / 'd.png').unlink()
    cv2.imwrite(str(hr / 'd.jpg'), np.zeros((50, 60, 3), np.uint8))
    code, output = vapsr_output('data', 'check', '--gt', hr, '--lq', lr, '--scale', 4, '--gt-size', 48, '--test', test_set,
                                '--workers', 1)
    assert code == 1
    for text in (f'{lr}/a.png cannot be decoded',
                 f'{lr}/b.png is 12x15, but {hr}/b.png is 48x64: for x4 the LR image must be 12x16',
                 f'{hr}/c.png has no partner: no image named c in {lr}',
                 f'{lr}/more.png has no partner: no HR image of its name',
                 f'{hr}/d.jpg and {hr}/d.bmp differ only in their suffix',
                 f'{hr}/d.jpg is 50x60 (height x width), not a multiple of the scale 4',
                 f'{lr}/d.png is not the LR image of {hr}/d.jpg: it shows something else; make it again',
                 f'{hr}/b.png is the test image {test_set}/uncut.png too: leave it out of training'):
        assert text in output, text
    assert '5 HR images checked, 8 faults' in output


def test_an_option_file_with_packs(pairs: tuple[Path, Path], tmp_path: Path, vapsr_output: Vapsr) -> None:
    hr, lr = pairs
    for folder, name in ((hr, 'HR.pack'), (lr, 'LR.pack')):
        make_pack([folder], tmp_path / name, workers=1)
    options = {
        'name': 'x', 'model_type': 'VapSRModel', 'scale': 4, 'num_gpu': 0, 'network_g': {'type': 'VapSR'},
        'datasets': {
            'train': {'name': 'packs', 'type': 'PairedPackDataset', 'dataroot_gt': str(tmp_path / 'HR.pack'),
                      'dataroot_lq': str(tmp_path / 'LR.pack'), 'gt_size': 52, 'use_hflip': True, 'use_rot': True,
                      'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1},
            'val': {'name': 'folders', 'type': 'PairedImageDataset', 'dataroot_gt': str(hr), 'dataroot_lq': str(lr),
                    'io_backend': {'type': 'disk'}}},
        'train': {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'scheduler': {'type': 'MultiStepLR', 'milestones': [1]},
                  'total_iter': 1, 'pixel_opt': {'type': 'L1Loss'}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1}}
    file = tmp_path / 'options.yml'
    file.write_text(yaml.safe_dump(options))
    code, output = vapsr_output('data', 'check', '-opt', file, '--workers', 1)
    assert code == 1
    assert f'a of {tmp_path}/HR.pack is the test image {hr}/a.png too' in output
    assert f'c of {tmp_path}/HR.pack is 48x48, smaller than gt_size 52' in output
    options['datasets']['train']['io_backend'] = {'type': 'disk'}
    del options['datasets']['val']['io_backend']
    file.write_text(yaml.safe_dump(options))
    code, output = vapsr_output('data', 'check', '-opt', file)
    assert code == 2
    assert 'datasets.train.io_backend: a PairedPackDataset reads packs alone: leave it out' in output
    assert 'datasets.val.io_backend: is required' in output


def test_every_pack_of_a_list_is_opened(pairs: tuple[Path, Path], train_options: Callable[..., str], tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch, vapsr_output: Vapsr) -> None:
    hr, lr = pairs
    monkeypatch.setenv('HOME', str(tmp_path))
    for folder, name in ((hr, 'HR'), (lr, 'v1'), (lr, 'v2'), (lr, 'damaged')):
        make_pack([folder], tmp_path / f'{name}.pack', workers=1)
    pixels = cv2.imread(str(lr / 'b.png')).tobytes()
    damaged = tmp_path / 'damaged.pack'
    damaged.write_bytes(damaged.read_bytes().replace(pixels, bytes(len(pixels))))
    (lr / 'b.png').rename(lr / 'e.png')
    make_pack([lr], tmp_path / 'renamed.pack', workers=1)

    def checked(*packs: str) -> str:
        train = {'type': 'PairedPackDataset', 'io_backend': None, 'dataroot_gt': '~/HR.pack', 'dataroot_lq': list(packs)}
        file = Path(train_options(scale=4, network_g={'scale': 4}, datasets={'train': train}))
        options = yaml.safe_load(file.read_text())
        del options['datasets']['val']
        file.write_text(yaml.safe_dump(options))
        code, output = vapsr_output('data', 'check', '-opt', file, '--workers', 1)
        assert code == int('no faults' not in output)
        return output

    assert '4 HR images checked, no faults' in checked('~/v1.pack', str(tmp_path / 'v2.pack'))
    output = checked('~/v1.pack', '~/damaged.pack')
    assert '4 HR images checked, 1 fault\n' in output
    assert f'b of {damaged} is not the LR image of b of {tmp_path}/HR.pack: it shows something else; make it again' in output
    output = checked('~/v1.pack', '~/renamed.pack')
    assert f'b of {tmp_path}/HR.pack has no partner: no image named b in {tmp_path}/renamed.pack' in output
    assert f'e of {tmp_path}/renamed.pack has no partner: no HR image of its name in {tmp_path}/HR.pack' in output
    output = checked('~/v1.pack', '~/none.pack')
    assert f'photos: {tmp_path}/none.pack: the pack cannot be read: No such file or directory' in output


def test_faults_of_arguments(tmp_path: Path, vapsr_output: Vapsr) -> None:
    assert 'give either -opt FILE, or --gt DIR, --lq DIR and --scale N' in vapsr_output('data', 'check', '--gt', tmp_path)[1]
    code, output = vapsr_output('data', 'check', '-opt', 'options.yml', '--gt-size', 192)
    assert code == 2 and 'give either -opt FILE, or --gt DIR' in output and 'with --gt-size N for training' in output
    (tmp_path / 'x.lmdb').mkdir()
    arguments = ('--gt', tmp_path / 'none', '--lq', tmp_path, '--scale', 4, '--test', tmp_path / 'x.lmdb')
    code, output = vapsr_output('data', 'check', *arguments)
    assert code == 1 and 'there is no such folder of images' in output and 'x.lmdb is not an LMDB of images' in output


def test_a_template_that_is_none(pairs: tuple[Path, Path], vapsr_output: Vapsr) -> None:
    for template in ('x{', '{}{}', '{x}', '{.x}'):
        code, output = vapsr_output('data', 'check', '--gt', pairs[0], '--lq', pairs[1], '--scale', 4,
                                    '--filename-tmpl', template)
        assert code == 1 and f"filename_tmpl '{template}': it needs one {{}}, which stands for the HR image's name" in output


def test_damaged_lmdbs(pairs: tuple[Path, Path], tmp_path: Path, vapsr_output: Vapsr) -> None:
    for name in ('short.lmdb', 'junk.lmdb'):
        make_lmdb([pairs[0]], tmp_path / name, workers=1)
    os.truncate(tmp_path / 'short.lmdb/data.mdb', 12288)
    (tmp_path / 'junk.lmdb/data.mdb').write_text('junk')
    code, output = vapsr_output('data', 'check', '--gt', tmp_path / 'short.lmdb', '--lq', pairs[1], '--scale', 4)
    assert code == 1 and 'short.lmdb: data.mdb has 12288 bytes of ' in output and 'it is cut off; make or copy it again' in output
    code, output = vapsr_output('data', 'check', '--gt', tmp_path / 'junk.lmdb', '--lq', pairs[1], '--scale', 4)
    assert code == 1 and 'junk.lmdb: the LMDB cannot be read: ' in output and '1 fault\n' in output


@pytest.mark.parametrize(('line', 'text'), [(b'\xff.png (4,4,3) 1', 'the list of images cannot be read: it is not text in UTF-8'),
                                            (b'a.png 4x4', "'a.png 4x4' is not of the form NAME (HEIGHT,WIDTH,CHANNELS) LEVEL")])
def test_an_lmdb_whose_list_is_damaged(line: bytes, text: str, pairs: tuple[Path, Path], tmp_path: Path,
                                       vapsr_output: Vapsr) -> None:
    make_lmdb([pairs[0]], tmp_path / 'HR.lmdb', workers=1)
    (tmp_path / 'HR.lmdb/meta_info.txt').write_bytes(line)
    code, output = vapsr_output('data', 'check', '--gt', tmp_path / 'HR.lmdb', '--lq', pairs[1], '--scale', 4)
    assert code == 1 and f'{tmp_path}/HR.lmdb/meta_info.txt: {text}' in output


def test_a_missing_pack_is_reported_as_one(pairs: tuple[Path, Path], tmp_path: Path, vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('data', 'check', '--gt', tmp_path / 'none.pack', '--lq', pairs[1], '--scale', 4)
    assert code == 1 and 'none.pack: the pack cannot be read: No such file or directory' in output


def test_size_rules_of_training_are_for_those_who_ask(pairs: tuple[Path, Path], vapsr_output: Vapsr) -> None:
    hr, lr = pairs
    image = cv2.imread(str(hr / 'b.png'))
    cv2.imwrite(str(hr / 'b.png'), cv2.copyMakeBorder(image, 0, 3, 0, 1, cv2.BORDER_REFLECT))  # as in a benchmark set
    arguments = ('data', 'check', '--gt', hr, '--lq', lr, '--scale', 4, '--workers', 1)
    assert vapsr_output(*arguments)[0] == 0
    code, output = vapsr_output(*arguments, '--gt-size', 64)
    assert code == 1 and 'b.png is 51x65 (height x width), not a multiple of the scale 4' in output
    assert 'c.png is 48x48, smaller than gt_size 64' in output


def test_sub_images_of_test_images_are_found(tmp_path: Path, vapsr_output: Vapsr) -> None:
    for folder in ('test', 'HR', 'LR'):
        (tmp_path / folder).mkdir()
    test, other = photograph(200, 260, 1), photograph(200, 260, 2)
    cv2.imwrite(str(tmp_path / 'test/whole.png'), test)
    cv2.imwrite(str(tmp_path / 'test/plain.png'), np.full((200, 200, 3), 255, np.uint8))
    spliced = np.concatenate([test[:64, :96], other[64:96, :96]])
    images = {'part': test[33:129, 151:247], 'corner': test[:48, :48], 'plain': np.full((96, 96, 3), 255, np.uint8),
              'other': other[33:129, 151:247], 'spliced': spliced}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / f'HR/{name}.png'), image)
    make_lr([tmp_path / 'HR'], tmp_path / 'LR', [4], workers=1)
    make_pack([tmp_path / 'HR'], tmp_path / 'HR.pack', workers=1)
    for root, names in ((tmp_path / 'HR', '{}/{}.png'), (tmp_path / 'HR.pack', '{1} of {0}')):
        code, output = vapsr_output('data', 'check', '--gt', root, '--lq', tmp_path / 'LR/X4', '--scale', 4, '--test',
                                    tmp_path / 'test', '--workers', 1)
        assert code == 1 and output.count('leave it out of training') == 2
        for name in ('part', 'corner'):
            assert f'{names.format(root, name)} is a part of the test image {tmp_path}/test/whole.png: leave it out' in output


def test_a_set_without_pairs_is_refused(train_options: Callable[..., str], vapsr_output: Vapsr) -> None:
    path = Path(train_options())
    options = yaml.safe_load(path.read_text())
    options['datasets']['train'] = {'name': 'web', 'type': 'RealESRGANDataset', 'dataroot_gt': 'HR', 'batch_size_per_gpu': 1,
                                    'num_worker_per_gpu': 0}
    path.write_text(yaml.safe_dump(options))
    code, output = vapsr_output('data', 'check', '-opt', path)
    assert code == 2 and 'datasets.train, RealESRGANDataset, has no dataroot_lq: there are no pairs to check' in output


def test_a_set_of_lr_images_alone_is_opened(test_options: Callable[..., str], vapsr_output: Vapsr) -> None:
    path = Path(test_options())
    options = yaml.safe_load(path.read_text())
    lq = next(iter(options['datasets'].values()))['dataroot_lq']
    for kind in ('SingleImageDataset', 'CheckedSingleImageDataset'):
        options['datasets'] = {'test': {'name': 'alone', 'type': kind, 'dataroot_lq': lq, 'io_backend': {'type': 'disk'}}}
        options['val'].pop('metrics', None)
        path.write_text(yaml.safe_dump(options))
        code, output = vapsr_output('data', 'check', '-opt', path)
        assert code == 0, output


def test_only_listed_images_are_checked(test_options: Callable[..., str], vapsr_output: Vapsr) -> None:
    Path('list.txt').write_text('1.png (48,48,3)\n7.png (48,48,3)\n')
    Path('datasets/photos/HR/0.png').write_text('damaged, but not listed')
    options = test_options(datasets={'test': {'meta_info_file': 'list.txt'}})
    code, output = vapsr_output('data', 'check', '-opt', options, '--workers', 1)
    assert code == 1 and '2 HR images checked, 2 faults' in output
    for folder in ('HR', 'LR'):
        assert f'datasets/photos/{folder}/7.png cannot be read: No such file or directory' in output


def test_lr_images_that_do_not_belong_to_their_hr_images_are_named(tmp_path: Path, vapsr_output: Vapsr) -> None:
    """Crops of another step: all but the first row and column lie elsewhere in the image."""
    for folder in ('HR', 'LR'):
        (tmp_path / folder).mkdir()
    image = photograph(400, 400, 3)
    for number in range(4):
        top, left = number // 2 * 120, number % 2 * 120
        shift = 16 if number == 3 else 0
        cv2.imwrite(str(tmp_path / f'HR/{number}.png'), image[top:top + 240, left:left + 240])
        other = image[top + shift:top + shift + 240, left:left + 240] if number != 1 else photograph(240, 240, 9)
        cv2.imwrite(str(tmp_path / f'LR/{number}.png'), imresize(other, 1 / 4))
    code, output = vapsr_output('data', 'check', '--gt', tmp_path / 'HR', '--lq', tmp_path / 'LR', '--scale', 4, '--workers', 1)
    assert code == 1 and '4 HR images checked, 2 faults' in output
    for number, words in ((1, 'shows something else'), (3, 'shows it shifted by about -4 rows and 0 columns')):
        assert (f'{tmp_path}/LR/{number}.png is not the LR image of {tmp_path}/HR/{number}.png: it {words}; make it again'
                in output)
