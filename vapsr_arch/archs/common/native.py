"""C sources that are compiled for the machine they run on, when they are first needed.

A library is kept in the user's cache folder, `$XDG_CACHE_HOME/vapsr_arch` or `~/.cache/vapsr_arch`, so that the next process
need not wait a second for the compiler. Its name depends on source, flags and processor, and its SHA-256 follows its last byte:
for a library that is cut off, the system would kill the process.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ('-O3', '-march=native', '-fopenmp', '-shared', '-fPIC')
CPU_INFO = Path('/proc/cpuinfo')
_SUM_SIZE = hashlib.sha256().digest_size


def load(source: Path, purpose: str) -> ctypes.CDLL | None:
    """Compiles a C source, or takes what was compiled before; None, with a message in the log, where that fails.

    Args:
        source: The C file.
        purpose: What the library is for; begins the message.
    """
    kept = _kept(source)
    if kept and _is_whole(kept):
        with contextlib.suppress(OSError):  # of another C library, say: compiled again
            return ctypes.CDLL(str(kept))
    compiler = shutil.which('cc') or shutil.which('gcc') or shutil.which('clang') or 'cc'
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, f'{source.stem}.so')
        try:
            subprocess.run([compiler, *FLAGS, source, '-o', library, '-lm'], check=True, capture_output=True, text=True)
            loaded = ctypes.CDLL(str(library))  # stays mapped after its file is gone
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, 'stderr', '') or str(error)).strip().splitlines()[-1]
            logging.getLogger('basicsr').warning(f'{purpose} could not be compiled ({reason}); torch\'s own is used.')
            return None
        if kept:
            with contextlib.suppress(OSError):  # a full disk: compiled again next time
                _keep(library, kept)
    return loaded


def _kept(source: Path) -> Path | None:
    """Where the library of a source is kept; None where no folder is this user's alone, or the processor is not known."""
    try:
        given = Path(os.environ.get('XDG_CACHE_HOME', ''))
        # The XDG Base Directory Specification has relative paths ignored.
        folder = (given if given.is_absolute() else Path.home() / '.cache') / 'vapsr_arch'
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        # What `-march=native` depends on: the lines that distinguish processors, not those that change as one runs.
        cpu = {line for line in CPU_INFO.read_text().splitlines()
               if line.startswith(('vendor_id', 'cpu family', 'model', 'flags', 'Features', 'CPU '))}
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    if not cpu or status.st_uid != os.getuid() or status.st_mode & 0o022:
        return None
    content = '\n'.join([source.read_text(), *FLAGS, platform.machine(), *sorted(cpu)])
    return folder / f'{source.stem}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.so'


def _is_whole(kept: Path) -> bool:
    """Whether a library that was kept is there, with its sum at its end."""
    try:
        content = kept.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_SUM_SIZE]).digest() == content[-_SUM_SIZE:]


def _keep(library: Path, kept: Path) -> None:
    """Copies a library and its sum to its place, whole or not at all."""
    content = library.read_bytes()
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
        try:
            file.write(content + hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, kept)
        except OSError:
            os.unlink(file.name)
            raise
