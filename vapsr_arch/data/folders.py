"""Which files of a folder are images."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vapsr_arch.data.image_formats import SUFFIXES
from vapsr_arch.errors import VapsrError

_NO_TEXT = re.compile('[\ud800-\udfff]')  # what stands for bytes that are not UTF-8


def split_images(folder: str | os.PathLike) -> tuple[list[Path], list[Path]]:
    """The files of a folder by name, except hidden ones: images, and all others.

    Raises:
        VapsrError: The folder is missing, has no image, or one whose name is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VapsrError(f'{folder}: there is no such folder of images')
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    foreign = [path.name for path in images if _NO_TEXT.search(path.name)]
    if foreign:
        raise VapsrError(f'{folder}: the name {foreign[0]!a} is not UTF-8: rename it')
    if not images:
        raise VapsrError(f'{folder}: the folder has no image ({", ".join(sorted(SUFFIXES))})')
    return images, [path for path in files if path.suffix.lower() not in SUFFIXES]


def passed_over(folder: str | os.PathLike, files: Sequence[Path]) -> str:
    """A line that says how many files of a folder are no images, and names the first of them."""
    names = ', '.join(file.name if not _NO_TEXT.search(file.name) else ascii(file.name) for file in files[:3])
    return f'{folder}: {len(files)} files are skipped, not images: {names}{", ..." if len(files) > 3 else ""}'
