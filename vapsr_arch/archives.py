"""Archives unpacked safely: nothing outside of the folder, nothing of a damaged one."""

import lzma
import re
import shutil
import struct
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole

_CHUNK = 2**20
_UNPACKED = 20, 2**26  # an archive's files take this many times its size and so many bytes at most


class _Member(NamedTuple):
    name: str
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


# What the two libraries raise for bytes that are no archive.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError,
            LookupError, ArithmeticError, MemoryError, AssertionError, TypeError)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], zipfile.ZipFile | tarfile.TarFile]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield (_Member(info.filename, info.file_size, info) for info in file.infolist() if not info.is_dir()), file
    else:
        with tarfile.open(archive, 'r:') as file:  # of a compressed one, headers too may be of any length
            yield (_Member(info.name, info.size, info) for info in _forward(file) if not info.isdir()), file


def _forward(file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """A tar's members. tarfile takes a damaged header for the end; a negative size would lead back, again and again."""
    end = -1
    for info in file:
        if info.offset <= end or info.size < 0:
            raise tarfile.ReadError('a member has a negative size')
        end = info.offset
        yield info
    file.fileobj.seek(file.offset)
    if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError('it is cut off, or a header is damaged')


def _is_plain(member: _Member) -> bool:
    if isinstance(member.handle, tarfile.TarInfo):
        return member.handle.isreg() and not member.handle.issparse()
    kind = member.handle.external_attr >> 28  # the file type of Unix's mode; 0 where none was stored
    return kind in (0, 0o10)


def _chosen(members: Iterator[_Member], archive: Path, pattern: str, replacement: str) -> dict[PurePosixPath, _Member]:
    """The members to unpack by their names within the folder; see `unpack`."""
    chosen: dict[PurePosixPath, _Member] = {}
    files, folders, size = set(), set(), 0
    factor, more = _UNPACKED
    for member in members:
        if not re.fullmatch(pattern, member.name):
            continue
        name = PurePosixPath(re.sub(pattern, replacement, member.name))
        if not _is_plain(member) or name.is_absolute() or '..' in name.parts or '\\' in str(name) or not name.parts:
            raise VapsrError(f'{archive}: {member.name} is a link or leads out of the folder: this is not the '
                             f'archive it should be; remove it')
        if isinstance(member.handle, zipfile.ZipInfo) and member.handle.flag_bits & 1:
            raise VapsrError(f'{archive}: {member.name} is encrypted: this is not the archive it should be; remove it')
        plain = PurePosixPath(unicodedata.normalize('NFC', str(name)).casefold())  # some file systems take these for one
        if plain in files or plain in folders or files.intersection(plain.parents):
            raise VapsrError(f'{archive}: {member.name} has the name of another file in it, but for case perhaps: this is not '
                             f'the archive it should be; remove it')
        files.add(plain)
        folders.update(plain.parents)
        size += member.size
        if size > factor * archive.stat().st_size + more:
            raise VapsrError(f'{archive}: its files are more than {factor} times as large: this is not the archive it should '
                             f'be; remove it')
        chosen[name] = member
    return chosen


def unpack(archive: Path, folder: Path, pattern: str, replacement: str) -> int:
    """Unpacks the files of a zip or tar archive whose names match, each whole; those there with their size are kept.

    Args:
        archive: The archive: zip, or tar without compression.
        folder: Nothing is written outside of it.
        pattern: A regular expression that the whole of a member's name must match.
        replacement: The file's name within `folder`, as for `re.sub`.

    Returns:
        How many files matched.

    Raises:
        VapsrError: The archive is damaged or encrypted, has a link or a device, two files of one name, files far larger than
            itself, or a name that leads out of the folder: nothing of it is left. Or the folder cannot be written to.
    """
    made: list[Path] = []
    try:
        with _opened(archive) as (members, file):
            chosen = _chosen(members, archive, pattern, replacement)
            for name, member in tqdm(chosen.items(), f'unpack {archive.name}', unit='file', file=sys.stderr):
                target = folder / name
                if target.is_file() and target.stat().st_size == member.size:
                    continue
                stream = file.open(member.handle) if isinstance(file, zipfile.ZipFile) else file.extractfile(member.handle)
                with stream, written_whole(target) as temporary, temporary.open('wb') as output:
                    made += [target]
                    shutil.copyfileobj(stream, output, _CHUNK)
    except _DAMAGED as error:
        _remove(made, folder)
        raise VapsrError(f'{archive} is damaged ({str(error) or "it ends too early"}): remove it, and run again') from None
    except OSError as error:
        if error.errno is None:  # raised by bz2 for damage
            _remove(made, folder)
            raise VapsrError(f'{archive} is damaged ({error}): remove it, and run again') from None
        raise VapsrError(f'{archive} cannot be unpacked into {folder}: {error.strerror or error}') from None
    return len(chosen)


def _remove(files: list[Path], folder: Path) -> None:
    """Removes files within a folder, and the folders that are empty then."""
    for path in files:
        path.unlink(missing_ok=True)
    for parent in sorted({parent for path in files for parent in path.parents if parent.is_relative_to(folder)}, reverse=True):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
