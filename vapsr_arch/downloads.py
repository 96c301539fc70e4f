"""Downloads that can be stopped and go on, and are checked before they get their name; archives unpacked safely."""

import hashlib
import http.client
import re
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import locked, written_whole

_CHUNK = 2**20
_TIMEOUT = 30  # seconds without a byte


class Source(NamedTuple):
    """A file on the network; `checksum` is `ALGORITHM:HEX`, or empty where none is known."""

    url: str
    checksum: str = ''

    @property
    def name(self) -> str:
        return self.url.rpartition('/')[2]

    def from_mirror(self, mirror: str | None) -> 'Source':
        """The file of the same name at another address."""
        return self._replace(url=f'{mirror.rstrip("/")}/{self.name}') if mirror else self


def file_sum(path: Path, algorithm: str) -> str:
    """A file's checksum, hexadecimal."""
    digest = hashlib.new(algorithm)
    with path.open('rb') as file, tqdm(total=path.stat().st_size, desc=f'{algorithm} of {path.name.strip(".")}', unit='B',
                                       unit_scale=True, file=sys.stderr, delay=1) as bar:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file's sum is the one wanted; an empty one is any file's."""
    algorithm, _, wanted = checksum.partition(':')
    return not checksum or file_sum(path, algorithm) == wanted


def download(source: Source, path: Path) -> None:
    """Downloads a file, or what is still missing of it, and checks it before it gets its name.

    Args:
        source: Where it is, and its sum.
        path: Where it goes; a file that is there is taken for it if it has the right sum.

    Raises:
        VapsrError: The server cannot be reached or has no such file, the download broke off, or the sum is wrong.
    """
    if path.is_file():
        if not has_checksum(path, source.checksum):
            raise VapsrError(f'{path} has not the {source.checksum.partition(":")[0]} sum that {source.url} has: remove it, '
                             f'and run again')
        return
    if not source.url.startswith(('https://', 'http://')):
        raise VapsrError(f'{source.url} is no address on the web: it begins with https:// or http://')
    path.parent.mkdir(parents=True, exist_ok=True)
    part, tag = path.with_name(f'.{path.name}.part'), path.with_name(f'.{path.name}.tag')
    with locked(part):
        have = -1
        while have != part.stat().st_size:  # as long as it gets on
            have = part.stat().st_size
            try:
                _continue(source, part, tag)
                break
            except urllib.error.HTTPError as error:
                raise VapsrError(f'{source.url}: the server answers {error.code} {error.reason}: if you have the file from '
                                 f'elsewhere, put it at {path}') from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = getattr(error, 'reason', None) or error
        else:
            if not have:
                part.unlink()
            raise VapsrError(f'{source.url} cannot be downloaded ({reason}): run again to go on, or put the file at {path}')
        if not has_checksum(part, source.checksum):
            part.unlink()
            tag.unlink(missing_ok=True)
            raise VapsrError(f'{source.url}: what came has not the {source.checksum.partition(":")[0]} sum '
                             f'{source.checksum.partition(":")[2]}, and was removed: run again, or put the right file at '
                             f'{path}')
        part.rename(path)
        tag.unlink(missing_ok=True)


def _continue(source: Source, part: Path, tag: Path) -> None:
    """Adds what is missing to `part`; a file that has changed on the server, as `tag` tells, is begun again."""
    have = part.stat().st_size
    request = urllib.request.Request(source.url, headers={'User-Agent': 'vapsr'})
    if have and tag.is_file():
        request.add_header('Range', f'bytes={have}-')
        request.add_header('If-Range', tag.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing beyond what we have
            if error.headers.get('Content-Range', '').endswith(f'/{have}'):
                return
            part.write_bytes(b'')
            raise http.client.HTTPException('the file on the server is smaller than what came of it') from None
        raise
    with response:
        goes_on = response.status == 206
        if goes_on and not response.headers.get('Content-Range', '').startswith(f'bytes {have}-'):
            raise http.client.HTTPException('the server sends another part than asked for')
        if not goes_on:
            have = 0
            tag.unlink(missing_ok=True)
            validator = response.headers.get('ETag') or response.headers.get('Last-Modified', '')
            if validator and not validator.startswith('W/'):
                tag.write_text(validator)
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with part.open('ab' if goes_on else 'wb') as file, tqdm(
                total=total, initial=have, desc=source.name, unit='B', unit_scale=True, file=sys.stderr) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and part.stat().st_size != total:
            raise http.client.HTTPException('the connection broke off')


class _Member(NamedTuple):
    name: str
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[_Member], zipfile.ZipFile | tarfile.TarFile]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_Member(info.filename, info.file_size, info) for info in file.infolist() if not info.is_dir()], file
    elif not tarfile.is_tarfile(archive):
        raise tarfile.ReadError('it is neither zip nor tar')
    else:
        with tarfile.open(archive) as file:
            yield [_Member(info.name, info.size, info) for info in file if not info.isdir()], file


def _is_plain(member: _Member) -> bool:
    if isinstance(member.handle, tarfile.TarInfo):
        return member.handle.isreg()
    kind = member.handle.external_attr >> 28  # the file type of Unix's mode; 0 where none was stored
    return kind in (0, 0o10)


def unpack(archive: Path, folder: Path, pattern: str, replacement: str) -> int:
    """Unpacks the files of a zip or tar archive whose names match, each whole; those there with their size are kept.

    Args:
        archive: The archive.
        folder: Nothing is written outside of it.
        pattern: A regular expression that the whole of a member's name must match.
        replacement: The file's name within `folder`, as for `re.sub`.

    Returns:
        How many files matched.

    Raises:
        VapsrError: The archive is damaged, has a link or a device, or a name that leads out of the folder.
    """
    count = 0
    try:
        with _opened(archive) as (members, file):
            for member in tqdm(members, f'unpack {archive.name}', unit='file', file=sys.stderr):
                if not re.fullmatch(pattern, member.name):
                    continue
                name = PurePosixPath(re.sub(pattern, replacement, member.name))
                if not _is_plain(member) or name.is_absolute() or '..' in name.parts or '\\' in str(name):
                    raise VapsrError(f'{archive}: {member.name} is a link or leads out of the folder: this is not the '
                                     f'archive it should be; remove it')
                count += 1
                target = folder / name
                if target.is_file() and target.stat().st_size == member.size:
                    continue
                stream = file.open(member.handle) if isinstance(file, zipfile.ZipFile) else file.extractfile(member.handle)
                with stream, written_whole(target) as temporary, temporary.open('wb') as output:
                    shutil.copyfileobj(stream, output, _CHUNK)
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError) as error:
        raise VapsrError(f'{archive} is damaged ({error}): remove it, and run again') from None
    except OSError as error:
        raise VapsrError(f'{archive} cannot be unpacked into {folder}: {error.strerror or error}') from None
    return count
