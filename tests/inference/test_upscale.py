"""`vapsr upscale` end to end: folders with good and bad files, metadata, running again, stopping."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms

from tests.conftest import Finished, photograph
from tests.data.data_helpers import write_damaged_pages
from vapsr_arch.data import image_writing
from vapsr_arch.data.image_files import read_image
from vapsr_arch.inference import batch
from vapsr_arch.inference.jobs import Job
from vapsr_arch.inference.upscaler import Upscaler


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; in it `in`, with two images."""
    monkeypatch.chdir(tmp_path)
    Path('in').mkdir()
    for index in range(2):
        Image.fromarray(photograph(20, 30, index)).save(f'in/{index}.png')
    return tmp_path


@pytest.fixture
def upscale(tiny_weights: Path, vapsr: Callable[..., Finished]) -> Callable[..., Finished]:
    """Runs `vapsr upscale ARGUMENTS` with a tiny network, x2, on the CPU, in this process."""
    return lambda *arguments: vapsr('upscale', *arguments, '--weights', str(tiny_weights), '--device', 'cpu')


def _names(folder: str = 'out') -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob('*') if path.is_file()}


def test_a_tilde_is_the_home_folder(folder: Path, upscale: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(folder / 'home'))
    assert upscale('in', '-o', '~/x').code == 0 and upscale('in', '-o', '~nobody at all/x').code == 0
    assert _names('home/x') == _names('~nobody at all/x') == {'0.png', '1.png'}


def test_a_folder_with_good_and_bad_files(folder: Path, tiny_weights: Path, vapsr_process: Callable[..., Finished]) -> None:
    pixels = photograph(24, 30, 5)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, 'Somebody'
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.fromarray(pixels).save('in/turned.jpg', exif=exif, icc_profile=icc)
    Path('in/cut.jpg').write_bytes(Path('in/turned.jpg').read_bytes()[:-200])
    Path('in/text.png').write_text('not an image')
    write_damaged_pages(Path('in/pages.tif'))
    Image.new('RGB', (1, 1), 'red').save('in/dot.png')
    cv2.imwrite('in/deep.tif', pixels.astype(np.uint16) * 257 + 3)
    Image.fromarray(pixels[..., :2]).save('in/grey_alpha.png')
    Image.fromarray(photograph(10, 20000, 0)).save('in/strip.png')

    result = vapsr_process('__main__', 'upscale', 'in', '-o', 'out', '--weights', str(tiny_weights), '--device', 'cpu')

    assert result.code == 1 and 'Traceback' not in result.err and not result.out
    assert '3 of 10 images failed, the others are done' in result.err
    for fault in ('in/cut.jpg cannot be read', 'in/text.png is not an image', 'in/pages.tif has a second page, which is damaged'):
        assert fault in result.err
    assert _names() == {'0.png', '1.png', 'turned.jpg', 'dot.png', 'deep.tif', 'grey_alpha.png', 'strip.png'}
    turned = read_image('out/turned.jpg')
    assert turned.pixels.shape == (60, 48, 3) and turned.icc == icc and turned.exif[ExifTags.Base.Artist] == 'Somebody'
    with Image.open('out/turned.jpg') as image:
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    shapes = {'dot.png': (2, 2, 3), 'deep.tif': (48, 60, 3), 'grey_alpha.png': (48, 60, 2), 'strip.png': (20, 40000, 3)}
    assert {name: read_image(f'out/{name}').pixels.shape for name in shapes} == shapes
    deep = read_image('out/deep.tif').pixels
    assert deep.dtype == np.uint16 and len(np.unique(deep & 0xFF)) > 100


def test_outputs_are_kept_unless_forced(folder: Path, upscale: Callable[..., Finished], vapsr: Callable[..., Finished]) -> None:
    Path('out').mkdir()
    Path('out/0.png').write_text('here already')
    first = upscale('in', '-o', 'out')
    assert first.code == 0 and '1 of 2 outputs exist already' in first.err
    assert Path('out/0.png').read_text() == 'here already' and read_image('out/1.png').pixels.shape == (40, 60, 3)
    assert '2 of 2 outputs' in upscale('in', '-o', 'out').err
    for name in ('VapSR-S_x5', ''):  # the outputs are not taken for those of weights that are not there
        other = vapsr('upscale', 'in', '-o', 'out', '--weights', name)
        assert other.code == 1 and f'{name}: there is no such file of weights' in other.err
    assert upscale('in', '-o', 'out', '--force').code == 0
    assert read_image('out/0.png').pixels.shape == (40, 60, 3)


def test_shards_are_resumed_alone(folder: Path, upscale: Callable[..., Finished]) -> None:
    Path('in/2.png').hardlink_to('in/0.png')
    first = upscale('in', '-o', 'out', '--shard', '1/2')
    assert first.code == 0 and 'shard 1/2: 2 of 3 images' in first.err and _names() == {'0.png', '2.png'}
    Path('out/2.png').unlink()
    again = upscale('in', '-o', 'out', '--shard', '1/2')
    assert '1 of 2 outputs exist already' in again.err and _names() == {'0.png', '2.png'}
    assert upscale('in', '-o', 'out', '--shard', '2/2').code == 0 and _names() == {'0.png', '1.png', '2.png'}
    assert upscale('in', '-o', 'out', '--shard', '4/4').code == 0


def test_png_levels_change_the_size_alone(folder: Path, upscale: Callable[..., Finished]) -> None:
    for level in (0, 3, 9):
        assert upscale('in/0.png', '-o', f'{level}.png', '--png-level', str(level)).code == 0
    sizes = [Path(f'{level}.png').stat().st_size for level in (0, 3, 9)]
    assert sizes[0] > 40 * 60 * 3 and sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[1]
    assert np.array_equal(read_image('0.png').pixels, read_image('9.png').pixels)


def test_recursion_patterns_suffix_and_format(folder: Path, upscale: Callable[..., Finished]) -> None:
    Path('in/sub').mkdir()
    Path('in/0.png').rename('in/sub/0.png')
    assert upscale('in', '-r', '-o', 'out', '--suffix', '_x2', '--format', 'webp').code == 0
    assert _names() == {'1_x2.webp', 'sub/0_x2.webp'}
    assert upscale('in/*.png', '-o', 'out2').code == 0 and _names('out2') == {'1.png'}
    assert upscale('in/1.png', '-o', 'big.bmp').code == 0 and read_image('big.bmp').pixels.shape == (40, 60, 3)


def test_nothing_is_begun_where_two_outputs_collide(folder: Path, upscale: Callable[..., Finished]) -> None:
    Path('other').mkdir()
    Path('in/0.png').rename('other/1.png')
    result = upscale('in', 'other', '-o', 'out')
    assert result.code == 1 and 'would both become out/1.png' in result.err and not Path('out').exists()


def test_outputs_that_cannot_be_written_end_it_before_the_first_image(
        folder: Path, upscale: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    Path('file').touch()
    result = upscale('in', '-o', 'file/out')
    assert result.code == 1
    assert result.err.endswith('Error: the folder file/out cannot be made (Not a directory): choose another output\n')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)  # root may do everything
    result = upscale('in', '-o', 'out')
    assert result.code == 1
    assert result.err.endswith('Error: the folder out cannot be written to: choose another output\n')
    assert not _names('out')


def test_an_input_is_not_overwritten(folder: Path, upscale: Callable[..., Finished]) -> None:
    before = Path('in/0.png').read_bytes()
    assert upscale('in', '-o', 'in', '--force').code == 1
    assert Path('in/0.png').read_bytes() == before and _names('in') == {'0.png', '1.png'}


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--tile', '0'], '--tile 0: give auto'), (['--halo', 'half'], '--halo half: give auto or full'),
    (['--suffix', '_x2', '-o', 'out.png'], 'names the output'), (['--png-level', '10'], 'less than or equal to 9'),
    *((['--shard', shard], f'--shard {shard}: give I/N, with I from 1 to N') for shard in ('0/2', '3/2', '2', '-1/2', 'a/b'))])
def test_faults_in_arguments_end_with_2(arguments: list[str], message: str, folder: Path, vapsr: Callable[..., Finished]) -> None:
    result = vapsr('upscale', 'in/0.png', '-o', 'out', *arguments)
    assert result.code == 2 and message in result.err and _names('.') == {'in/0.png', 'in/1.png'}


def test_what_the_format_cannot_hold_is_reported_with_the_file(folder: Path, upscale: Callable[..., Finished]) -> None:
    Image.fromarray(photograph(8, 8, 0)).convert('RGBA').save('in/0.png')
    result = upscale('in', '-o', 'out', '--format', 'jpeg')
    assert result.code == 1 and 'in/0.png: jpeg files cannot hold alpha: take --format png' in result.err
    assert _names() == {'1.jpg'}


@pytest.mark.parametrize('error', [KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_a_write_that_ends_early_leaves_nothing(error: BaseException, folder: Path, upscale: Callable[..., Finished],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise error
    monkeypatch.setattr(image_writing, '_save', fail)
    result = upscale('in', '-o', 'out')
    assert not _names()
    if isinstance(error, OSError):
        assert result.code == 1 and 'out/0.png: No space left on device' in result.err and '2 of 2 images failed' in result.err
    else:
        assert result.code == 130


class _Noted:
    """Has what is read, upscaled and written noted, each when it begins and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.met = threading.Condition()
        for what, holder, name in (('read', batch, 'read_image'), ('write', batch, 'write_image'),
                                   ('upscale', Upscaler, '__call__')):
            monkeypatch.setattr(holder, name, self._noting(what, getattr(holder, name)))

    def _noting(self, what: str, function: Callable) -> Callable:
        def noting(*arguments: object) -> object:
            self.note(f'{what}...')
            try:
                return function(*arguments)
            finally:
                self.note(what)
        return noting

    def note(self, event: str) -> None:
        with self.met:
            self.events.append(event)
            self.met.notify_all()

    def wait_for(self, event: str, times: int) -> None:
        with self.met:
            assert self.met.wait_for(lambda: self.events.count(event) >= times, 60)


def test_an_image_is_read_and_one_written_while_another_is_upscaled(folder: Path, upscale: Callable[..., Finished],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    Path('in/2.png').hardlink_to('in/0.png')
    noted, run = _Noted(monkeypatch), Upscaler._run

    def second_waits(self: Upscaler, pixels: np.ndarray) -> object:
        if noted.events.count('upscale...') == 2:  # it ends when the third has been read and the first is written
            noted.wait_for('read', 3)
            noted.wait_for('write', 1)
        return run(self, pixels)
    monkeypatch.setattr(Upscaler, '_run', second_waits)
    assert upscale('in', '-o', 'out').code == 0 and len(_names()) == 3


def test_small_images_are_upscaled_side_by_side(folder: Path, upscale: Callable[..., Finished],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its share of torch's threads, which the caller has again when they are done."""
    for number in range(3, 6):
        Path(f'in/{number}.png').hardlink_to('in/0.png')
    Path('in/2.png').write_text('no image')
    before, threads, both, run = torch.get_num_threads(), [], threading.Barrier(2), Upscaler._run

    def meet(self: Upscaler, pixels: np.ndarray) -> object:
        threads.append(torch.get_num_threads())
        if len(threads) <= 2:
            both.wait(60)
        return run(self, pixels)
    monkeypatch.setattr(Upscaler, '_run', meet)
    torch.set_num_threads(4)
    try:
        result = upscale('in', '-o', 'out')
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert result.code == 1 and _names() == {f'{number}.png' for number in (0, 1, 3, 4, 5)}
    assert threads == [1] * 5
    results = [read_image(f'out/{number}.png').pixels for number in (0, 3, 4, 5)]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_images_that_the_memory_has_no_room_for_go_one_by_one(folder: Path, upscale: Callable[..., Finished],
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    noted = _Noted(monkeypatch)
    size = 20 * 30 * 3 * 5
    monkeypatch.setattr(batch, 'available_memory', lambda: 8 * size - 1)
    assert upscale('in', '-o', 'out').code == 0
    assert noted.events == ['read...', 'read', 'upscale...', 'upscale', 'write...', 'write'] * 2


def test_faults_are_named_in_the_order_of_the_images(folder: Path, upscale: Callable[..., Finished],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first fails as it is written, when the second has failed to be read."""
    Path('in/1.png').write_bytes(Path('in/1.png').read_bytes()[:-40])
    Path('in/2.png').hardlink_to('in/0.png')
    save = image_writing._save

    def fail_at_first(path: Path, *arguments: object) -> None:
        if path.name.startswith('.0'):
            raise OSError(28, 'No space left on device')
        save(path, *arguments)
    monkeypatch.setattr(image_writing, '_save', fail_at_first)
    result = upscale('in', '-o', 'out')
    assert result.code == 1 and _names() == {'2.png'}
    lines = result.err[result.err.index('2 of 3 images failed'):].splitlines()
    assert lines[1].strip() == 'out/0.png: No space left on device' and lines[2].strip().startswith('in/1.png cannot be read')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_whole_files_only(number: int, folder: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(400, 400, 0)).save('in/00.png')
    for index in range(1, 100):  # more than can be upscaled between the second and the signal
        os.link('in/00.png', f'in/{index:02}.png')
    process = subprocess.Popen(
        [sys.executable, '-m', 'vapsr_arch', 'upscale', 'in', '-o', 'out', '--weights', tiny_weights, '--device', 'cpu'],
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # shells have jobs ignore Ctrl-C
    while process.poll() is None and len(list(Path('out').glob('[0-9]*'))) < 2:
        time.sleep(0.01)
    process.send_signal(number)
    lines = process.communicate()[1]
    assert process.returncode == 128 + number and b'Traceback' not in lines
    assert 2 <= len(_names()) < 102
    for name in _names():
        assert read_image(f'out/{name}').pixels.shape[2] == 3


def test_the_shipped_network_is_the_default(folder: Path, vapsr: Callable[..., Finished]) -> None:
    assert vapsr('upscale', 'in/0.png', '-o', 'out').code == 0
    assert read_image('out/0.png').pixels.shape == (80, 120, 3)


def test_a_missing_compiler_is_reported(folder: Path, vapsr_process: Callable[..., Finished], tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', '')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    result = vapsr_process('__main__', 'upscale', 'in/0.png', '-o', 'out', '--device', 'cpu')
    assert result.code == 0 and '\nThe fused attention block could not be compiled (' in result.err


@pytest.mark.filterwarnings('error::tqdm.TqdmWarning')
def test_the_bar_ends_at_all_of_the_pixels_however_they_round(capsys: pytest.CaptureFixture[str]) -> None:
    for count in range(1, 40):
        plan = batch._Plan(Job(Path('a'), Path('b'), 'png'), None, 48., 0, 1)
        with batch._Progress([plan]) as progress:
            progress._bar.mininterval = 0  # each step is shown
            show = progress.begin(plan)
            for part in range(1, count + 1):
                show(part / count)
    assert capsys.readouterr().err.count('100%') >= 39
