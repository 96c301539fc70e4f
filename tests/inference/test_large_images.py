"""Images whose pixels go to the disk as they are made: in little memory, and not at all where the disk has no room."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Finished, photograph
from vapsr_arch.data.image_canvas import is_kept_on_disk, pixels_on_disk
from vapsr_arch.data.image_files import read_image
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference import batch

# Upscales images, x4, to pixels of the same colours, and prints for each by how many MiB the memory's peak grew.
_MEASURED = '''
import re, sys
from pathlib import Path
from torch import nn
from vapsr_arch.data import image_canvas
from vapsr_arch.inference.batch import upscale_files
from vapsr_arch.inference.jobs import Job
from vapsr_arch.inference.upscaler import Upscaler

def peak():
    return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024

image_canvas._LARGE, image_canvas._PERIOD = 0, 0.01
upscaler = Upscaler(nn.Upsample(scale_factor=4), device='cpu', tile=64, halo=0)
for kind in ('png', 'tiff'):
    upscale_files([(Job(Path('small.bmp'), Path('out', kind), kind), upscaler)])  # has what is loaded once loaded
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts again
    before = peak()
    upscale_files([(Job(Path('large.bmp'), Path('out', kind), kind), upscaler)])
    print(peak() - before)
'''


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='the system does not measure the peak of the memory')
def test_the_result_is_not_in_memory(tmp_path: Path) -> None:
    image = photograph(1000, 1500, 0)
    Image.fromarray(image).save(tmp_path / 'large.bmp')
    Image.fromarray(image[:100, :100]).save(tmp_path / 'small.bmp')
    result = subprocess.run([sys.executable, '-c', _MEASURED], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert max(map(int, result.stdout.split())) < 16 * image.nbytes / 2**20 / 2
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'png', 'tiff'}
    for kind in ('png', 'tiff'):
        assert np.array_equal(read_image(tmp_path / 'out' / kind).pixels, image.repeat(4, 0).repeat(4, 1))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; in it `in`, with images of some kinds, all of which count as large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('vapsr_arch.data.image_canvas._LARGE', 0)
    Path('in').mkdir()
    pixels = photograph(20, 30, 0)
    Image.fromarray(pixels).save('in/rgb.jpg')
    Image.fromarray(pixels[..., 0]).save('in/grey.png')
    Image.fromarray(np.dstack((pixels, pixels[..., 0]))).save('in/alpha.tif')
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save('in/deep.png')
    return tmp_path


@pytest.fixture
def upscale(tiny_weights: Path, vapsr: Callable[..., Finished]) -> Callable[..., Finished]:
    """Runs `vapsr upscale in -o OUT ARGUMENTS` with a tiny network, x2, on the CPU, in this process."""
    return lambda *arguments: vapsr('upscale', 'in', *arguments, '--weights', str(tiny_weights), '--device', 'cpu')


def test_files_are_the_same_as_through_memory(sources: Path, upscale: Callable[..., Finished],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    @contextmanager
    def noted(*arguments: object) -> Iterator[np.ndarray]:
        with pixels_on_disk(*arguments) as pixels:
            used.append(pixels.shape)
            yield pixels

    monkeypatch.setattr(batch, 'pixels_on_disk', noted)
    assert upscale('-o', 'by_disk/there').code == 0
    assert sorted(used) == [(40, 60, 1), (40, 60, 1), (40, 60, 3), (40, 60, 4)]
    monkeypatch.setattr('vapsr_arch.data.image_canvas._LARGE', 2**30)
    assert upscale('-o', 'by_memory').code == 0
    assert len(used) == 4
    written = {path.name: path.read_bytes() for path in Path('by_memory').iterdir()}
    assert written == {path.name: path.read_bytes() for path in Path('by_disk/there').iterdir()}


def test_a_full_disk_is_reported_before_the_work(sources: Path, upscale: Callable[..., Finished],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: shutil._ntuple_diskusage(2**33, 2**33, 100))
    result = upscale('-o', 'out', '--format', 'png')
    assert result.code == 1 and '4 of 4 images failed' in result.err and not list(Path('out').iterdir())
    assert 'in/rgb.jpg: 60x40 pixels may need 0.0 GiB of disk while they are written, and 0.0 GiB are free in out' in result.err


def test_a_disk_that_cannot_keep_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', fail)
    with pytest.raises(OSError, match='No space left'), pixels_on_disk(tmp_path / 'out', (4, 4, 3), np.dtype(np.uint8)):
        pass
    assert not list((tmp_path / 'out').iterdir())


def test_which_images_are_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('vapsr_arch.data.image_canvas.available_memory', lambda: 2**33)
    assert is_kept_on_disk('png', 2**30 + 1) and is_kept_on_disk('tiff', 2**30 + 1) and is_kept_on_disk('jpeg', 2**30 + 1)
    assert not is_kept_on_disk('png', 2**30) and not is_kept_on_disk('webp', 2**40)
    monkeypatch.setattr('vapsr_arch.data.image_canvas.available_memory', lambda: 2**28)
    assert is_kept_on_disk('png', 2**27)


def test_a_format_that_needs_memory_names_those_that_do_not(sources: Path, upscale: Callable[..., Finished],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(height: int, width: int, size: int, name: Path, advice: str = '') -> None:
        raise VapsrError(f'{name}: too large{advice}')

    monkeypatch.setattr(batch, 'check_memory', refuse)
    result = upscale('-o', 'out', '--format', 'webp')
    assert 'in/rgb.jpg: too large: take --format jpeg or png or tiff, which need less' in result.err
