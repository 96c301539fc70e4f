"""The pixels of an image that is too large for the memory: in a file beside the output, while they are made and written."""

import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vapsr_arch.data.image_formats import STREAMED
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import available_memory

_LARGE = 2**30  # bytes of pixels: fewer stay in memory, where it has four times as many
_PERIOD = 0.05  # seconds in which pixels stay in memory


def is_kept_on_disk(kind: str, size: int) -> bool:
    """Whether an image has its pixels on the disk while they are made.

    Args:
        kind: The format that it will have, of `FORMATS`: some encoders need the whole image in memory.
        size: The bytes of its pixels.
    """
    return kind in STREAMED and size > min(_LARGE, available_memory() // 4)


@contextmanager
def pixels_on_disk(folder: Path, shape: tuple[int, int, int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Gives an array that lies in a file without a name, which vanishes however the process ends.

    What is written to the array, or read of it, takes memory only briefly.

    Args:
        folder: Where the file lies; it is made if it is not there.
        shape: The array's.
        dtype: The array's.

    Raises:
        VapsrError: The disk has no room for the pixels and an image of them; the sentence has no file's name.
        OSError: As the system says.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    folder.mkdir(parents=True, exist_ok=True)
    # How small the image becomes is not known before; larger than its pixels it is not.
    if (free := shutil.disk_usage(folder).free) < 2 * size:
        raise VapsrError(f'{shape[1]}x{shape[0]} pixels may need {2 * size / 2**30:.1f} GiB of disk while they are written, and '
                         f'{free / 2**30:.1f} GiB are free in {folder}')
    with tempfile.TemporaryFile(dir=folder) as file:
        os.truncate(file.fileno(), size)
        if hasattr(os, 'posix_fallocate'):  # a disk that is full when pixels come would end the process
            os.posix_fallocate(file.fileno(), 0, size)
        mapped = mmap.mmap(file.fileno(), size)
        with _released_periodically(mapped):
            yield np.frombuffer(mapped, dtype).reshape(shape)


@contextmanager
def _released_periodically(mapped: mmap.mmap) -> Iterator[None]:
    """Repeatedly releases a mapped file's pages from the process's memory; the system keeps them and writes them to the file."""
    if not hasattr(mapped, 'madvise'):  # Windows
        yield
        return
    ended = threading.Event()

    def release() -> None:
        while not ended.wait(_PERIOD):
            mapped.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
