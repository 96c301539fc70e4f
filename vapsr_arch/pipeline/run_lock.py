"""One run of a name at a time: a second one would archive the folder of the first."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import locked


@contextmanager
def run_lock(folder: Path, name: str) -> Iterator[None]:
    """Holds `folder/.NAME.lock`, in which this process's number and host stand, until the end.

    The system gives the lock back however a process ends: a file that is left behind stops nobody.

    Args:
        folder: Where the run's folder lies; is made, and removed again if nothing was written into it.
        name: The run.

    Raises:
        VapsrError: Another process holds it.
    """
    path = folder / f'.{name}.lock'
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(path))
        except VapsrError:
            raise VapsrError(f'{folder / name}: {_holder(path)} is at work there{_advice()}') from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()} {socket.gethostname()}\n'.encode(), 0)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


def _holder(path: Path) -> str:
    try:
        number, host = path.read_text(encoding='utf-8').split()
    except (OSError, ValueError):
        return 'another run'
    return f'process {number} on {host}'


def _advice() -> str:
    if int(os.environ.get('WORLD_SIZE', '1')) > 1:
        return '; torchrun started several processes: add `--launcher pytorch`, by which they train together'
    return ': wait until it has ended, or give this run another name (name in the option file)'
