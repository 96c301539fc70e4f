"""Commands in subprocesses, killed ones too; chunks of PNGs; TIFFs with a damaged page."""

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).parents[2]

# Runs `vapsr`, and kills it in the middle of the Nth call of a function, as kill -9 does.
KILLED = '''
import importlib, os, signal, sys
from vapsr_arch.cli import main
module, name, count, *arguments = sys.argv[1:]
owner = importlib.import_module(module)
*path, name = name.split('.')
for part in path:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), iter(range(int(count), 0, -1))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
def function(*args, **kwargs):
    if next(calls) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
setattr(owner, name, function)
main(arguments)
'''

# Runs `vapsr`; the system kills it when a file is to grow beyond some bytes: at that byte, with the rest never written.
CUT_OFF = '''
import resource, signal, sys
from vapsr_arch.cli import main
size, *arguments = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
main(arguments)
'''


def in_subprocess(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, env=environment, text=True, capture_output=True)


def killed_in(module: str, name: str, count: int, *arguments: object, setup: str = '') -> None:
    """Runs `vapsr` in a subprocess that gets a SIGKILL when it calls the function for the `count`th time."""
    process = in_subprocess('-c', setup + KILLED, module, name, count, *arguments)
    assert process.returncode == -9, process.stderr


def stopped_in(module: str, name: str, count: int, *arguments: object) -> None:
    """Runs `vapsr` in a subprocess that gets a Ctrl-C when it calls the function for the `count`th time."""
    process = in_subprocess('-c', KILLED.replace('SIGKILL', 'SIGINT'), module, name, count, *arguments)
    assert process.returncode == 130 and 'Traceback' not in process.stderr, process.stderr


def cut_off_at(size: int, *arguments: object) -> None:
    """Runs `vapsr` in a subprocess that is killed in the middle of a write: when a file has so many bytes."""
    process = in_subprocess('-c', CUT_OFF, size, *arguments)
    assert process.returncode == -signal.SIGXFSZ, process.stderr


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def with_png_chunks(path: Path, *chunks: bytes) -> None:
    """Adds chunks to a PNG, right after its header."""
    content = path.read_bytes()
    path.write_bytes(content[:33] + b''.join(chunks) + content[33:])


def write_damaged_pages(path: Path, missing: tuple[int, ...] = (256, 257), byteorder: str = '<', bigtiff: bool = False) -> None:
    """Writes a TIFF of two pages; the second lacks some tags, by default its size, or is beyond the file where there are none."""
    tifffile.imwrite(path, np.full((2, 4, 5), 7, np.uint8), photometric='minisblack', byteorder=byteorder, bigtiff=bigtiff,
                     metadata=None)
    with tifffile.TiffFile(path) as file:
        second = file.pages[1]
        places = [second.tags[tag].offset for tag in missing]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place:place + 2] = struct.pack(f'{byteorder}H', 254)  # a tag that says nothing
    if not missing:
        pointer = struct.pack(byteorder + ('Q' if bigtiff else 'I'), second.offset)
        content = content.replace(pointer, b'\x7f' * len(pointer))
    path.write_bytes(content)
