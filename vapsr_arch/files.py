"""Files that are written whole or not at all."""

import contextlib
import ctypes
import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vapsr_arch.errors import VapsrError

try:
    import fcntl
except ModuleNotFoundError:  # Windows; files go unguarded there
    fcntl = None

# fcntl.h and stdio.h of Linux
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

LONGEST_NAME = 255  # bytes
_TEMPORARY = re.compile(r'\..+\.tmp-\w{8}(\.\w+)?')  # the names that `written_whole` gives


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`; what was written there gets its name at the end, unless an error came.

    Args:
        path: The file to write; its folder is made. The temporary name keeps the suffix and begins with a dot.

    Yields:
        The name to write to.

    Raises:
        OSError: As the system says, with `path` as its file name even where the system names none, as for a full disk.
    """
    path = Path(path)
    # Named before it is made: whenever a signal ends this, it is removed.
    temporary = path.with_name(_temporary_name(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)  # the name, too, is to outlast a power cut
    except OSError as error:
        if error.errno and (error.filename is None or _TEMPORARY.fullmatch(Path(error.filename).name)):
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # the folder may be none
            temporary.unlink()


def replace_folder(new: Path, old: Path) -> None:
    """Swaps the names of two folders; both names exist at every moment.

    Args:
        new: A folder, complete.
        old: A folder, a file or a link beside it. Where there is none, `new` is renamed alone.

    Raises:
        OSError: As the system says.
    """
    _flush(new)
    if not os.path.lexists(old):
        new.rename(old)
    elif not _exchange(new, old):
        aside = old.with_name(f'.{old.name}.old-{secrets.token_hex(4)}')
        old.rename(aside)
        new.rename(old)
        aside.rename(new)
    _flush(old.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _temporary_name(path: Path) -> str:
    """A name for writing `path` under; of a long one only the beginning is kept, so that it is no longer than names may be."""
    ending = f'.tmp-{secrets.token_hex(4)}{path.suffix if len(os.fsencode(path.suffix)) < 32 else ""}'
    return '.' + os.fsdecode(os.fsencode(path.stem)[:LONGEST_NAME - 1 - len(os.fsencode(ending))]) + ending


@contextmanager
def full_disk_explained() -> Iterator[None]:
    """Turns an error of the system that there is no room, which names no file, into a sentence; TensorBoard's is one.

    Raises:
        VapsrError: There is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename:
            raise
        raise VapsrError(f'{error.strerror}; what was saved before is whole: make room and resume with --auto_resume') from None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftovers(folder: Path) -> set[Path]:
    """What `written_whole` left in a folder, and those in it, when its process was killed; or what it is writing now."""
    return {path for path in folder.rglob('.*') if _TEMPORARY.fullmatch(path.name) and path.is_file()}


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Locks a file or a folder for this process; the system unlocks it however the process ends.

    Args:
        path: A folder that is there, or a file, which is made.

    Yields:
        The file descriptor: for reading and writing where `path` is a file.

    Raises:
        VapsrError: Another process has locked it.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have renamed the file between the two calls.
            free = path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
        except BlockingIOError:
            free = False
        if not free:
            raise VapsrError(f'{path}: another run is writing there: wait until it is done, or choose another place')
        yield descriptor
    finally:
        os.close(descriptor)
