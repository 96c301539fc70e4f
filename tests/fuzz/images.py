"""Damaged images of every format, read as `upscale` and as the data tools read them."""

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.cases import Outcome, damaged, taken
from vapsr_arch.data.image_files import read_header, read_image
from vapsr_arch.data.images import decode, read_as_it_is, read_bytes

Case = bytes

_KINDS = {'png': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'), 'jpeg': ('L', 'RGB', 'CMYK'), 'webp': ('RGB', 'RGBA'),
          'bmp': ('L', 'RGB'), 'ppm': ('L', 'RGB'), 'gif': ('P',), 'tiff': ('1', 'L', 'RGB', 'RGBA', 'CMYK', 'I;16')}
_COMPRESSIONS = ('raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits')


def _images() -> list[bytes]:
    exif = Image.Exif()
    exif[0x010f], exif[0x0112] = 'Maker', 6
    originals = []
    for kind, modes in _KINDS.items():
        for mode in modes:
            image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
            image = image.convert('L').convert('I').convert('I;16') if mode == 'I;16' else image.convert(mode)
            for compression in _COMPRESSIONS if kind == 'tiff' else ('',):
                buffer = io.BytesIO()
                image.save(buffer, kind, exif=exif, icc_profile=b'x' * 140, **{'compression': compression} if compression else {})
                originals.append(buffer.getvalue())
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    return originals + [cv2.imencode(suffix, deep)[1].tobytes() for suffix in ('.png', '.tif')]


def cases() -> st.SearchStrategy[Case]:
    """A file's bytes."""
    return damaged(_images())


def _read_decoded(path: Path) -> None:
    decode(read_bytes(path), path)


_READERS: tuple[Callable[[Path], object], ...] = (read_image, read_header, read_as_it_is, _read_decoded)


def run(case: Case) -> Outcome:
    """Reads an image in each way, and gives the worst outcome."""
    with tempfile.TemporaryDirectory(prefix='vapsr-fuzz-') as folder:
        path = Path(folder, 'x')
        path.write_bytes(case)
        outcomes = [taken(functools.partial(reader, path), len(case)) for reader in _READERS]
    return max(outcomes, key=lambda each: (each.fault is not None, each.kind != 'success', each.seconds))
