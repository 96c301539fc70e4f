"""`vapsr data lr | subimages | lmdb | pack`: what they write, and what they refuse."""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from tests.data.data_helpers import contents
from vapsr_arch.data.lmdb_store import key_of
from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.data.pack import Pack
from vapsr_arch.data.subimages import positions

Vapsr = Callable[..., tuple[int, str]]
ONE = ('--workers', '1')


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)


def test_lr_of_every_kind(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    assert vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2, 3, 4, *ONE)[0] == 0
    for source in photographs.iterdir():
        for scale in (2, 3, 4):
            made = read(tmp_path / 'LR' / f'X{scale}' / source.name)
            np.testing.assert_array_equal(made, imresize(mod_crop(read(source), scale), 1 / scale))


@pytest.mark.parametrize(('arguments', 'said'), [
    (('lr', 'out', '--scale', 2, 3), 'out/X2, out/X3: 4 images each'), (('lmdb', 'out.lmdb'), 'out.lmdb: 4 images'),
    (('subimages', 'out', '--size', 40, '--step', 20), 'out: 20 sub-images of 4 images'),
    (('pack', 'out.pack', '--scale', 2), 'out.pack: 4 images, 0.0 MB\nout_X2.pack: 4 images, 0.0 MB')])
def test_what_was_written_is_said(arguments: tuple[str, ...], said: str, photographs: Path, vapsr_output: Vapsr,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs.parent)
    command, out, *options = arguments
    code, output = vapsr_output('data', command, photographs.name, out, *options, *ONE)
    assert code == 0 and output.startswith(f'{said}\n')


def test_lr_with_hr_cut_for_training(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    options = ('--scale', 2, 3, '--border', 'replicate', '--cut-hr')
    assert vapsr_output('data', 'lr', photographs, tmp_path / 'out', *options, *ONE)[0] == 0
    for source in photographs.iterdir():
        hr = mod_crop(read(source), 6)
        np.testing.assert_array_equal(read(tmp_path / 'out/HR' / source.name), hr)
        np.testing.assert_array_equal(read(tmp_path / 'out/X3' / source.name), imresize(hr, 1 / 3, 'replicate'))


def test_finished_images_are_kept_and_changed_ones_made_again(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    command = ('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2, *ONE)
    vapsr_output(*command)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'LR/X2').iterdir()}
    os.utime(photographs / 'b.png')
    assert vapsr_output(*command)[0] == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'LR/X2').iterdir()}
    assert {name for name in before if before[name] != after[name]} == {'b.png'}


@pytest.mark.parametrize(('arguments', 'workers'), [
    (('lr', 'HR', 'out', '--scale', 4), 1), (('subimages', 'HR', 'out', '--size', 48, '--step', 24), 2),
    (('lmdb', 'HR', 'out.lmdb'), 1), (('pack', 'HR', 'out.pack'), 2)])
def test_a_bad_image_is_named_and_the_rest_is_done(arguments: tuple, workers: int, photographs: Path, tmp_path: Path,
                                                   vapsr_output: Vapsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (photographs / 'bad.png').write_bytes((photographs / 'a.png').read_bytes()[:3000])
    code, output = vapsr_output('data', *arguments, '--workers', workers)
    assert code == 1
    assert '1 of 5 images failed, the others are done' in output
    assert 'HR/bad.png cannot be decoded: the file is damaged, cut off or not an image' in output
    (photographs / 'bad.png').unlink()
    made = contents(tmp_path)
    assert vapsr_output('data', *arguments, *ONE)[0] == 0
    assert contents(tmp_path) == made  # what is finished is kept


@pytest.mark.parametrize('arguments', [('lr', 'HR', 'out', '--scale', 4), ('subimages', 'HR', 'out', '--size', 48),
                                       ('lmdb', 'HR', 'out.lmdb'), ('pack', 'HR', 'out.pack')])
def test_an_output_that_holds_something_else_is_left_alone(arguments: tuple, photographs: Path, tmp_path: Path,
                                                           vapsr_output: Vapsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == 'pack':
        Path('out.pack').write_text('mine')
    else:
        Path(arguments[2]).mkdir()
        Path(arguments[2], 'mine.txt').write_text('mine')
    before = contents(tmp_path)
    code, output = vapsr_output('data', *arguments, *ONE)
    assert code == 1 and f'{arguments[2]} holds something other than' in output and '--force' in output
    assert contents(tmp_path) == before
    assert vapsr_output('data', *arguments, *ONE, '--force')[0] == 0
    assert contents(tmp_path) != before
    assert vapsr_output('data', *arguments, *ONE)[0] == 0


@pytest.mark.parametrize('arguments', [('lr', 'HR', 'out', '--scale', 2), ('subimages', 'HR', 'out', '--size', 48),
                                       ('lmdb', 'HR', 'out.lmdb'), ('pack', 'HR', 'out.pack')])
def test_images_of_another_folder_are_something_else(arguments: tuple, photographs: Path, tmp_path: Path, vapsr_output: Vapsr,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photographs, tmp_path / 'another')  # of the same names, and older than what is made
    assert vapsr_output('data', *arguments, *ONE)[0] == 0
    made = contents(tmp_path)
    code, output = vapsr_output('data', arguments[0], 'another', *arguments[2:], *ONE)
    assert code == 1 and f'{arguments[2]} holds something other than' in output and contents(tmp_path) == made
    monkeypatch.chdir(photographs)
    assert vapsr_output('data', arguments[0], tmp_path / 'HR', tmp_path / arguments[2], *arguments[3:], *ONE)[0] == 0
    assert contents(tmp_path) == made


@pytest.mark.parametrize('arguments', [('lr', 'out/HR', 'out', '--scale', 4, '--cut-hr'), ('subimages', 'out/HR', 'out/HR'),
                                       ('lmdb', 'out.lmdb', 'out.lmdb')])
def test_images_are_not_written_over_themselves(arguments: tuple, photographs: Path, tmp_path: Path, vapsr_output: Vapsr,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photographs, arguments[1])
    before = contents(tmp_path)
    code, output = vapsr_output('data', *arguments, *ONE, '--force')
    assert code == 1 and f'{arguments[1]} is the folder of the images themselves: choose another output' in output
    assert contents(tmp_path) == before


def test_other_settings_are_something_else(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2, *ONE)
    code, output = vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2, '--border', 'replicate', *ONE)
    assert code == 1 and 'holds something other than what vapsr data lr makes with these arguments' in output


def test_a_folder_once_forced_continues_without(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    def lr(*more: object) -> tuple[int, str]:
        return vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2, *ONE, *more)
    lr()
    good = (photographs / 'b.png').read_bytes()
    (photographs / 'b.png').write_bytes(good[:3000])
    assert lr('--border', 'replicate', '--force')[0] == 1
    (photographs / 'b.png').write_bytes(good)
    assert lr('--border', 'replicate')[0] == 0
    for source in photographs.iterdir():
        want = imresize(mod_crop(read(source), 2), 1 / 2, 'replicate')
        np.testing.assert_array_equal(read(tmp_path / 'LR/X2' / source.name), want)


@pytest.mark.parametrize(('arguments', 'size'), [(('lmdb', 'HR', 'out.lmdb'), 20000), (('pack', 'HR', 'out.pack'), 5000)])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(arguments: tuple, size: int, photographs: Path, tmp_path: Path,
                                                        vapsr_output: Vapsr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        code, output = vapsr_output('data', *arguments, *ONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1 and f'Error: {arguments[2]} cannot be written: ' in output
    assert contents(tmp_path) == before


def test_faults_of_input(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    out = tmp_path / 'out'
    assert 'there is no such folder of images' in vapsr_output('data', 'lr', tmp_path / 'none', out, '--scale', 2)[1]
    (tmp_path / 'empty').mkdir()
    assert 'the folder has no image' in vapsr_output('data', 'pack', tmp_path / 'empty', out)[1]
    assert 'NAME.lmdb' in vapsr_output('data', 'lmdb', photographs, out)[1]
    code, output = vapsr_output('data', 'pack', photographs, tmp_path, '--force')
    assert code == 1 and f'{tmp_path} is a folder, and a pack is a file: choose another name' in output
    assert vapsr_output('data', 'lr', photographs, out, '--scale', 1)[0] == 2
    assert f'{photographs}/a.png: File exists' in vapsr_output('data', 'lr', photographs, photographs / 'a.png', '--scale', 2)[1]
    code, output = vapsr_output('data', 'subimages', photographs, out, '--size', 64, *ONE)
    assert code == 1 and 'smaller than a sub-image of 64x64: lower --size or leave it out' in output
    assert 'Error: 4 of 4 images failed:' in output
    cv2.imwrite(str(photographs / 'a.bmp'), np.zeros((8, 8, 3), np.uint8))
    code, output = vapsr_output('data', 'lr', photographs, out, '--scale', 2)
    assert code == 1 and 'differ only in their folder or suffix: rename one of them' in output


def test_names_that_are_not_text(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    (photographs / 'a.png').rename(os.fsdecode(os.fsencode(photographs) + b'/caf\xe9.png'))
    for arguments in (('lr', photographs, tmp_path / 'out', '--scale', 2), ('subimages', photographs, tmp_path / 'out'),
                      ('lmdb', photographs, tmp_path / 'out.lmdb'), ('pack', photographs, tmp_path / 'out.pack'),
                      ('check', '--gt', photographs, '--lq', photographs, '--scale', 1)):
        code, output = vapsr_output('data', *arguments)
        assert code == 1 and fr"{photographs}: the name 'caf\udce9.png' is not UTF-8" in output
    assert {path.name for path in tmp_path.iterdir()} == {'HR'}


@pytest.mark.parametrize('arguments', [('subimages', 'HR', 'out', '--size', 48), ('pack', 'HR', 'out.pack')])
def test_an_image_too_large_to_open(arguments: tuple, photographs: Path, tmp_path: Path, vapsr_output: Vapsr,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('vapsr_arch.memory._ALWAYS_THERE', 17000)  # bytes; d, of 16 bits, has 18000
    monkeypatch.setattr('vapsr_arch.memory.available_memory', lambda: 0)
    code, output = vapsr_output('data', *arguments, *ONE)
    assert code == 1 and '1 of 4 images failed' in output and 'HR/d.png: ' in output and 'GiB are free' in output


def test_positions_are_basicsrs() -> None:
    assert positions(480, 480, 240) == [0]
    assert positions(481, 480, 240) == [0, 1]
    assert positions(1356, 480, 240) == [0, 240, 480, 720, 876]
    assert positions(960, 480, 240) == [0, 240, 480]


def test_subimages_of_both_sizes_fit(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    vapsr_output('data', 'lr', photographs, tmp_path / 'out', '--scale', 4, '--cut-hr', *ONE)
    (tmp_path / 'out/X4/a.png').rename(tmp_path / 'out/X4/7x4.png')  # DIV2K's way of naming LR
    (tmp_path / 'out/HR/a.png').rename(tmp_path / 'out/HR/7.png')
    vapsr_output('data', 'subimages', tmp_path / 'out/HR', tmp_path / 'HR_sub', '--size', 32, '--step', 16, *ONE)
    vapsr_output('data', 'subimages', tmp_path / 'out/X4', tmp_path / 'LR_sub', '--size', 8, '--step', 4, *ONE)
    names = sorted(path.name for path in (tmp_path / 'HR_sub').glob('*.png'))
    assert names == sorted(path.name for path in (tmp_path / 'LR_sub').glob('*.png')) and '7_s006.png' in names
    hr, lr = read(tmp_path / 'out/HR/7.png'), read(tmp_path / 'out/X4/7x4.png')
    np.testing.assert_array_equal(read(tmp_path / 'HR_sub/7_s006.png'), hr[32:64, 16:48])
    np.testing.assert_array_equal(read(tmp_path / 'LR_sub/7_s006.png'), lr[8:16, 4:12])


def test_subimages_whose_names_would_be_too_long(tmp_path: Path, vapsr: Vapsr) -> None:
    (tmp_path / 'in').mkdir()
    source = tmp_path / 'in' / f'{"e" * 250}.png'
    cv2.imwrite(str(source), np.zeros((8, 8, 3), np.uint8))
    result = vapsr(*map(str, ('data', 'subimages', tmp_path / 'in', tmp_path / 'out', '--size', 4, '--step', 4, *ONE)))
    assert result.code == 1 and f'{source}: the names of its sub-images would be longer than 255 bytes' in result.err
    assert not list((tmp_path / 'out').glob('*.png'))


def test_lmdb_of_any_names_and_sizes_is_read_by_basicsr(tmp_path: Path, vapsr_output: Vapsr) -> None:
    from vapsr_arch.pipeline.registration import register
    register()
    from basicsr.data.data_util import paired_paths_from_lmdb
    from basicsr.utils import FileClient, imfrombytes
    folder, random = tmp_path / 'HR', np.random.default_rng(0)
    folder.mkdir()
    images = {'a.b.c': (4, 4), 'a.b': (5, 5), 'été 1': (300, 200), '写真': (7, 9), '100%41': (3, 3), '100A': (2, 2)}
    for name, size in images.items():
        content = cv2.imencode('.png', random.integers(0, 256, (*size, 3), np.uint8))[1]
        (folder / f'{name}.png').write_bytes(content)
    out = tmp_path / 'HR.lmdb'
    assert vapsr_output('data', 'lmdb', folder, out, *ONE)[0] == 0
    paths = paired_paths_from_lmdb([str(out), str(out)], ['lq', 'gt'])
    assert {unquote(path['gt_path']) for path in paths} == set(images)
    client = FileClient('lmdb', db_paths=[str(out)], client_keys=['gt'])
    for name, size in images.items():
        assert imfrombytes(client.get(key_of(name), 'gt')).shape == (*size, 3)
    assert 'finished already: kept' in vapsr_output('data', 'lmdb', folder, out, *ONE)[1] or (out / 'data.mdb').is_file()


def test_lmdb_has_room_for_images_of_little_more_than_a_page(tmp_path: Path, vapsr_output: Vapsr) -> None:
    (tmp_path / 'HR').mkdir()
    content = cv2.imencode('.png', np.random.default_rng(0).integers(0, 256, (37, 37, 3), np.uint8))[1].tobytes()
    assert 4096 < len(content) < 5000
    for number in range(600):
        (tmp_path / f'HR/{number}.png').write_bytes(content)
    assert vapsr_output('data', 'lmdb', tmp_path / 'HR', tmp_path / 'HR.lmdb', *ONE)[0] == 0


def test_lmdb_refuses_a_name_that_makes_no_key(tmp_path: Path, vapsr_output: Vapsr) -> None:
    (tmp_path / 'HR').mkdir()
    for name in ('好' * 80, 'b'):
        (tmp_path / 'HR' / f'{name}.png').write_bytes(cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1])
    code, output = vapsr_output('data', 'lmdb', tmp_path / 'HR', tmp_path / 'out.lmdb', *ONE)
    assert code == 1 and 'its name makes a key of 720 bytes, and LMDB takes 511: shorten it' in output


def test_pack_holds_what_training_reads(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('data', 'pack', photographs, tmp_path / 'HR.pack', *ONE)
    assert code == 0 and '1 of 4 images have 16 bits a channel and are read as 8 bits' in output
    pack = Pack(tmp_path / 'HR.pack')
    assert [pack.name(position) for position in range(len(pack))] == ['a', 'b', 'c', 'd']
    for position in range(len(pack)):
        want = cv2.imread(str(photographs / f'{pack.name(position)}.png'))
        np.testing.assert_array_equal(pack[position], want)
    assert pack.find('c') == 2 and pack.find('bb') is None
    assert 'finished already, kept' in vapsr_output('data', 'pack', photographs, tmp_path / 'HR.pack', *ONE)[1]


def test_lr_is_made_when_packing(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    assert vapsr_output('data', 'pack', photographs, tmp_path / 'HR.pack', '--scale', 4, *ONE)[0] == 0
    hr, lr = Pack(tmp_path / 'HR.pack'), Pack(tmp_path / 'HR_X4.pack')
    for position in range(4):
        want = mod_crop(cv2.imread(str(photographs / f'{hr.name(position)}.png')), 4)
        np.testing.assert_array_equal(hr[position], want)
        np.testing.assert_array_equal(lr[position], imresize(want, 1 / 4))
