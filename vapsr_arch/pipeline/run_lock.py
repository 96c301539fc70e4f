"""One run of a name at a time: a second one would archive the folder of the first."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vapsr_arch.errors import VapsrError

try:
    import fcntl
except ModuleNotFoundError:  # Windows; runs go unguarded there
    fcntl = None

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none; runs go unguarded there


@contextmanager
def run_lock(folder: Path, name: str) -> Iterator[None]:
    """Holds `folder/.NAME.lock`, in which this process's number and host stand, until the end.

    The system frees the lock however a process ends, so that a file that is left behind stops nobody. Processes forked from
    this one, which may outlive it for seconds, do not hold it.

    Args:
        folder: Where the run's folder lies; is made, and removed again if nothing was written into it.
        name: The run.

    Raises:
        VapsrError: Another process holds it, or the folder cannot be written to.
    """
    path = folder / f'.{name}.lock'
    is_new = not folder.exists()
    try:
        descriptor = _take(path)
    except OSError as error:
        raise VapsrError(f'{folder}: no run can be kept there: {error.strerror}') from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()} {socket.gethostname()}\n'.encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if is_new:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _take(path: Path) -> int:
    """The descriptor of a lock file, locked.

    Raises:
        VapsrError: Another process has locked it.
        OSError: It cannot be made.
    """
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # a run that ended has removed the folder
            continue
        try:
            if fcntl:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            number, _, host = os.pread(descriptor, 1000, 0).decode().strip().partition(' ')
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            holder = f'process {number} on {host}' if host else 'another run'
            raise VapsrError(f'{path.parent / path.name[1:-len(".lock")]}: {holder} is at work there: wait until it has ended, '
                             f'or give this run another name (`name` in the option file)') from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # a run that ended has removed the file
