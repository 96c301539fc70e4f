"""`vapsr data degrade`: the same bytes whatever else happens, what it refuses, pairs for training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.data.data_helpers import contents, in_subprocess, killed_in
from vapsr_arch.data.degrade import make_degraded
from vapsr_arch.data.image_datasets import CheckedPairedImageDataset
from vapsr_arch.data.matlab_resize import mod_crop
from vapsr_arch.data.paired_pack_dataset import PairedPackDataset
from vapsr_arch.errors import OptionsError, VapsrError

Vapsr = Callable[..., tuple[int, str]]
ONE = ('--workers', '1')
# As `vapsr data lr`: nothing but MATLAB's bicubic.
NOTHING = {'blur': {'kinds': {'none': 1}}, 'downscale': {'kernels': {'bicubic': 1}}, 'noise': {'kinds': {'none': 1}},
           'jpeg': {'times': {'none': 1}}}


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)


def test_no_degradation_is_what_data_lr_makes(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    (photographs / 'd.png').unlink()  # of 16 bits
    zero = {'blur': {'kinds': {'isotropic': 1, 'anisotropic': 1}, 'sigma': [0, 0]}, 'downscale': {'kernels': {'bicubic': 2}},
            'noise': {'kinds': {'gaussian': 1, 'poisson': 1}, 'sigma': [0, 0.0]}, 'jpeg': {'times': {'none': 1}}}
    vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 4, '--cut-hr', *ONE)
    for number, strengths in enumerate((NOTHING, zero)):
        file, out = tmp_path / f'{number}.yml', tmp_path / f'{number}'
        file.write_text(yaml.safe_dump(strengths))
        options = ('--scale', 4, '--strengths', file, '--cut-hr', *ONE)
        assert vapsr_output('data', 'degrade', photographs, out, *options)[0] == 0
        assert contents(out / 'X4_v1') == contents(tmp_path / 'LR/X4')
        assert contents(out / 'HR') == contents(tmp_path / 'LR/HR')


def test_bytes_depend_on_neither_workers_nor_neighbours(photographs: Path, tmp_path: Path) -> None:
    make_degraded([photographs], tmp_path / 'all', 4, variants=3, seed=5, workers=2)
    alone = tmp_path / 'alone'
    alone.mkdir()
    shutil.copy(photographs / 'b.png', alone)
    make_degraded([alone], tmp_path / 'one', 4, variants=2, seed=5, cut_hr=True, workers=1)
    for variant in ('X4_v1', 'X4_v2'):
        assert set(contents(tmp_path / 'all' / variant)) == {'a.png', 'b.png', 'c.png', 'd.png'}
        assert contents(tmp_path / 'one' / variant)['b.png'] == contents(tmp_path / 'all' / variant)['b.png']


def test_names_variants_and_seeds_give_other_images(photographs: Path, tmp_path: Path) -> None:
    for name in ('b', 'c', 'd'):
        (photographs / f'{name}.png').unlink()
    shutil.copy(photographs / 'a.png', photographs / 'b.png')
    for seed in (0, 1):
        make_degraded([photographs], tmp_path / f'{seed}', 4, variants=2, seed=seed, workers=1)
    images = [image for seed in (0, 1) for variant in (1, 2) for image in contents(tmp_path / f'{seed}/X4_v{variant}').values()]
    assert len(images) == len(set(images)) == 8


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_sizes_and_kinds(scale: int, photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('data', 'degrade', photographs, tmp_path / 'out', '--scale', scale, '--cut-hr', *ONE)
    assert code == 0 and '1 of 4 images have 16 bits a channel and are read as 8 bits' in output
    for source in photographs.iterdir():
        hr, lr = read(tmp_path / 'out/HR' / source.name), read(tmp_path / f'out/X{scale}_v1' / source.name)
        want = mod_crop(cv2.imread(str(source), cv2.IMREAD_ANYCOLOR), scale)
        np.testing.assert_array_equal(hr, want)
        assert lr.dtype == np.uint8 and lr.ndim == hr.ndim
        assert (lr.shape[0] * scale, lr.shape[1] * scale) == hr.shape[:2]


def test_too_small_and_damaged_images_are_named(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    (photographs / 'bad.png').write_bytes((photographs / 'a.png').read_bytes()[:3000])
    cv2.imwrite(str(photographs / 'tiny.png'), np.zeros((3, 9, 3), np.uint8))
    code, output = vapsr_output('data', 'degrade', photographs, tmp_path / 'out', '--scale', 4, *ONE)
    assert code == 1 and '2 of 6 images failed, the others are done' in output
    assert 'HR/tiny.png is smaller than 4 pixels: leave it out' in output and 'HR/bad.png cannot be decoded' in output
    assert set(contents(tmp_path / 'out/X4_v1')) == {'a.png', 'b.png', 'c.png', 'd.png'}


def test_other_settings_are_refused_and_more_variants_added(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    out = tmp_path / 'out'
    command = ('data', 'degrade', photographs, out, '--scale', 4, *ONE)
    assert vapsr_output(*command)[0] == 0
    made, times = contents(out), {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    file = tmp_path / 'strengths.yml'
    file.write_text('noise: {grey: 0.5}')
    for other in (('--seed', 1), ('--strengths', file), ('--cut-hr',)):
        code, output = vapsr_output(*command, *other)
        assert code == 1 and 'holds something other than what vapsr data degrade makes with these arguments' in output
        assert contents(out) == made
    file.write_text('noise: {grey: 0.4}\ndownscale: {kernels: {lanczos: 1, bicubic: 2.0, bilinear: 1, area: 1}}')  # the defaults
    assert vapsr_output(*command, '--variants', 2, '--strengths', file)[0] == 0
    assert made.items() < contents(out).items() and len(contents(out / 'X4_v2')) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_images_are_not_written_over_themselves(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / 'out').mkdir()
    shutil.copytree(photographs, tmp_path / 'out/X4_v2')
    with pytest.raises(VapsrError, match='X4_v2 is the folder of the images themselves: choose another output'):
        make_degraded([tmp_path / 'out/X4_v2'], tmp_path / 'out', 4, variants=2, force=True)


@pytest.mark.parametrize(('arguments', 'text'), [
    ({'scale': 1}, '--scale 1: must be 2 or more'), ({'variants': 0}, '--variants 0: must be 1 or more'),
    ({'seed': -1}, '--seed -1: must be 0 or more')])
def test_arguments_out_of_range(arguments: dict[str, int], text: str, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(VapsrError, match=text):
        make_degraded([photographs], tmp_path / 'out', **{'scale': 4} | arguments)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('text', 'faults'), [
    ('blur: {sigma: [1, 0.5]}', ['blur.sigma: Input should be the lowest and the highest value, in this order, not [1, 0.5]']),
    ('blur: {sigma: [0, 11]}', ['blur.sigma.1: Input should be less than or equal to 10, not 11']),
    ('blur: {sigma: 1}', ['blur.sigma: Input should be a valid list, not 1']),
    ('blur: {sigma: [1]}', ['blur.sigma: List should have at least 2 items']),
    ('blur: {kinds: {none: 0}}', ["blur.kinds: Input should have a weight above 0, not {'none': 0}"]),
    ('blur: {kinds: {box: 1}}', ["blur.kinds.box: Input should be 'none', 'isotropic' or 'anisotropic'"]),
    ('blur: {aspect: [0, 1]}', ['blur.aspect.0: Input should be greater than or equal to 0.1, not 0']),
    ('blur:', ['blur: Input should be a valid dictionary']),
    ('noise: {gray: 1}', ["noise.gray: unknown key; did you mean 'grey'?"]),
    ('noice: {grey: 1}', ["noice: unknown key; did you mean 'noise'?"]),
    ('noise: {grey: .nan}\njpeg: {quality: [0, 95.5]}', ['noise.grey: ', 'jpeg.quality.0: ', 'jpeg.quality.1: ']),
    ('jpeg: {times: {once: true}}', ['jpeg.times.once: Input should be a valid number, not True']),
    ('jpeg: [', ['line 1: ']), ('- 1', [''])])
def test_faults_of_strengths_name_file_and_key(text: str, faults: list[str], photographs: Path, tmp_path: Path,
                                               vapsr_output: Vapsr) -> None:
    file = tmp_path / 'strengths.yml'
    file.write_text(text)
    code, output = vapsr_output('data', 'degrade', photographs, tmp_path / 'out', '--scale', 4, '--strengths', file)
    assert code == OptionsError.exit_code and 'Traceback' not in output and not (tmp_path / 'out').exists()
    assert len(output.splitlines()) == len(faults)
    for fault in faults:
        assert f'{file}: {fault}' in output


def test_a_file_of_strengths_that_is_missing(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('data', 'degrade', photographs, tmp_path / 'out', '--scale', 4, '--strengths', 'none.yml')
    assert code == 2 and 'none.yml: ' in output and 'No such file' in output


def test_killed_and_run_again_gives_the_same_bytes(photographs: Path, tmp_path: Path) -> None:
    arguments = ('data', 'degrade', photographs, tmp_path / 'out', '--scale', 4, '--variants', 2)
    killed_in('vapsr_arch.files', 'Path.replace', 5, *arguments, *ONE)
    left = {path.name for path in (tmp_path / 'out').rglob('*.png') if not path.name.startswith('.')}
    assert 0 < len(left) < 4
    make_degraded([photographs], tmp_path / 'out', 4, variants=2, workers=1)
    make_degraded([photographs], tmp_path / 'undisturbed', 4, variants=2, workers=1)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'undisturbed')


def test_each_variant_pairs_with_hr_for_training(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    process = in_subprocess('-m', 'vapsr_arch', 'data', 'degrade', 'HR', 'out', '--scale', 4, '--variants', 2, '--seed', 3,
                            '--cut-hr', *ONE, cwd=tmp_path)
    assert process.returncode == 0 and 'degraded images: 100%' in process.stderr, process.stderr
    assert process.stdout == 'out/X4_v1, out/X4_v2, out/HR: 4 images each\n'
    out = tmp_path / 'out'
    for folder in ('HR', 'X4_v1', 'X4_v2'):
        assert vapsr_output('data', 'pack', out / folder, tmp_path / f'{folder}.pack', *ONE)[0] == 0
    options = {'name': 'set', 'scale': 4, 'phase': 'train', 'gt_size': 32, 'use_hflip': True, 'use_rot': True}
    for variant in ('X4_v1', 'X4_v2'):
        packs = PairedPackDataset(options | {'dataroot_gt': tmp_path / 'HR.pack', 'dataroot_lq': tmp_path / f'{variant}.pack'})
        folders = CheckedPairedImageDataset(options | {'dataroot_gt': str(out / 'HR'), 'dataroot_lq': str(out / variant),
                                                'io_backend': {'type': 'disk'}})
        assert len(packs) == len(folders) == 4
        for data in (packs, folders):
            sample = data[1]
            assert sample['lq'].shape == (3, 8, 8) and sample['gt'].shape == (3, 32, 32)
