"""Written image files: whole, under names of all kinds, or a sentence and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vapsr_arch.data import image_writing
from vapsr_arch.data.image_files import ImageData, read_image
from vapsr_arch.data.image_writing import check_fits, write_image
from vapsr_arch.errors import VapsrError


@pytest.mark.parametrize(('kind', 'blocks'), [('png', 20), ('jpeg', 20), ('tiff', 20), ('webp', 20), ('bmp', 20)])
def test_a_short_write_leaves_nothing(kind: str, blocks: int, tmp_path: Path) -> None:
    code = f"""
import numpy as np
from vapsr_arch.data.image_writing import write_image, ImageData
try:
    write_image({str(tmp_path / 'x')!r}, {kind!r}, ImageData(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)))
except Exception as error:
    print(type(error).__name__, error)
"""
    limited = ['sh', '-c', f'ulimit -f {blocks}; exec "$@"', 'sh', sys.executable, '-c', code]
    result = subprocess.run(limited, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(('OSError', 'VapsrError')) and not list(tmp_path.iterdir())


@pytest.mark.parametrize('kept', [0, 0.1, 0.9, 0.9999, 1])
@pytest.mark.parametrize('kind', ['png', 'jpeg', 'tiff', 'webp'])
def test_what_cannot_be_read_again_is_not_kept(kind: str, kept: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = image_writing._save

    def save_a_part(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        os.truncate(path, int(kept * path.stat().st_size))
    monkeypatch.setattr(image_writing, '_save', save_a_part)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    if kept == 1:
        write_image(tmp_path / 'out', kind, ImageData(pixels))
        assert kind in ('jpeg', 'webp') or np.array_equal(read_image(tmp_path / 'out').pixels, pixels)
    else:
        with pytest.raises(VapsrError, match='what was written cannot be read again'):
            write_image(tmp_path / 'out', kind, ImageData(pixels))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('place', [9, 20, 0.3, 0.999, -1])
def test_a_png_that_the_disk_holds_otherwise_is_not_kept(place: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = image_writing._save

    def save_with_a_bit_turned(path: Path, *arguments: Any) -> None:
        save(path, *arguments)
        content = bytearray(path.read_bytes())
        content[int(place * len(content)) if 0 < place < 1 else place] ^= 4
        path.write_bytes(content)
    monkeypatch.setattr(image_writing, '_save', save_with_a_bit_turned)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    with pytest.raises(VapsrError, match='what was written cannot be read again'):
        write_image(tmp_path / 'out', 'png', ImageData(pixels))
    assert not list(tmp_path.iterdir())


_INTERRUPTED = '''
import faulthandler, random, signal, time
import numpy as np
from vapsr_arch.data.image_writing import write_image, ImageData
faulthandler.dump_traceback_later(20, exit=True)
signal.signal(signal.SIGALRM, signal.default_int_handler)
image, interrupted, end = ImageData(np.zeros((40, 30, 3), np.uint8)), 0, time.monotonic() + 1
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-3))
        write_image('out.png', 'png', image)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
print(interrupted)
'''


def test_a_ctrl_c_at_any_moment_ends_the_writing_of_a_png(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, '-c', _INTERRUPTED], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and int(result.stdout) > 10, result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {'out.png'}


@pytest.mark.parametrize('stem', ['a' * 251, 'é' * 125, '[x]', '~'])
@pytest.mark.parametrize('kind', ['png', 'jpeg', 'tiff'])
def test_long_and_odd_names(kind: str, stem: str, tmp_path: Path) -> None:
    path = tmp_path / f'{stem}.{kind[:3]}'
    write_image(path, kind, ImageData(np.full((4, 5, 3), 77, np.uint8)))
    assert [file.name for file in tmp_path.iterdir()] == [path.name] and read_image(path).pixels.shape == (4, 5, 3)


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / 'caf\udce9.png'
    write_image(path, 'png', ImageData(np.full((4, 5, 3), 77, np.uint8)))
    assert (read_image(path).pixels == 77).all()


def test_exif_that_jpeg_cannot_hold_is_refused_with_advice() -> None:
    exif = Image.Exif()
    exif[0x010E] = 'x' * 70000
    with pytest.raises(VapsrError, match=r'EXIF of .* bytes: take --format png'):
        check_fits('jpeg', 4, 4, ImageData(np.zeros((4, 4, 3), np.uint8), exif))
