"""Which files of a folder are images."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vapsr_arch.data.image_formats import SUFFIXES
from vapsr_arch.errors import VapsrError

_NO_TEXT = re.compile('[\ud800-\udfff]')  # what stands for bytes that are not UTF-8


def real(path: Path) -> Path:
    """A path without links; of links that go in a circle, as far as they lead, where `Path.resolve` raises an error."""
    return Path(os.path.realpath(path))


def is_image(path: Path) -> bool:
    """Whether a path is a file with the suffix of an image; a pipe, a device or a link to nothing is not."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def split_images(folder: str | os.PathLike) -> tuple[list[Path], list[Path]]:
    """The files of a folder by name, except hidden ones: images, and all others.

    Raises:
        VapsrError: The folder is missing, has no image, or one whose name is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VapsrError(f'{folder}: there is no such folder of images')
    files = sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith('.'))
    images = [path for path in files if is_image(path)]
    foreign = [path.name for path in images if _NO_TEXT.search(path.name)]
    if foreign:
        raise VapsrError(f'{folder}: the name {foreign[0]!a} is not UTF-8: rename it')
    if not images:
        raise VapsrError(f'{folder}: the folder has no image ({", ".join(sorted(SUFFIXES))})')
    return images, [path for path in files if not is_image(path)]


def skipped_files(folder: str | os.PathLike, files: Sequence[Path]) -> str:
    """A line that says how many files of a folder are skipped as of no format that is read, and names the first of them."""
    what = '1 file is skipped, of no format that is read' if len(files) == 1 else (
        f'{len(files)} files are skipped, of no format that is read')
    return f'{folder}: {what}: {_names(files)}'


def skipped_folders(folder: str | os.PathLike, but: Path | None = None) -> str | None:
    """A line that says how many folders lie within a folder that is not searched for more; None if none does.

    Args:
        folder: The folder.
        but: A folder that is not counted, such as that of the outputs.
    """
    within = [path for path in sorted(Path(folder).iterdir())
              if path.is_dir() and not path.name.startswith('.') and real(path) != (but and real(but))]
    count = '1 folder within it is' if len(within) == 1 else f'{len(within)} folders within it are'
    return f'{folder}: {count} skipped: {_names(within)}' if within else None


def _names(paths: Sequence[Path]) -> str:
    names = [path.name if not _NO_TEXT.search(path.name) else ascii(path.name) for path in paths[:3]]
    return ', '.join(names) + (', ...' if len(paths) > 3 else '')
