"""Downloads that can be stopped and resumed, and are checked before they get their name."""

import hashlib
import http.client
import io
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import locked

_CHUNK = 2**20
_TIMEOUT = 30  # seconds without a byte
_PERIOD, _SLOWEST = 30, 1024  # seconds, and the bytes a second that come at least, on average, in every so many seconds
_PROGRESS = 2**16  # bytes that a connection has brought before it broke off, for another to be tried
_REDIRECTS = 10  # at most, one after another


class Source(NamedTuple):
    """A file on the network.

    Attributes:
        url: Its address.
        checksum: `ALGORITHM:HEX`, or empty where none is known.
        limit: More bytes than it has: no more are taken, whatever the server sends.
    """

    url: str
    checksum: str = ''
    limit: int = 2**26

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


class _TooSlow(OSError):
    """The server sends too slowly."""


class _Paced(io.RawIOBase):
    """What a server sends, headers included: an error if it comes too slowly, however regularly."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw, self.since, self.count = raw, time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        count = self.raw.readinto(buffer)
        self.count += count
        passed = time.monotonic() - self.since
        if count and passed >= _PERIOD:
            if self.count < passed * _SLOWEST:
                raise _TooSlow(f'it sends less than {_SLOWEST} bytes a second')
            self.since, self.count = time.monotonic(), 0
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fp = io.BufferedReader(_Paced(self.fp.detach()))


class _Connection(http.client.HTTPConnection):
    response_class = _PacedResponse


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _PacedResponse


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, request, context=self._context)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Leaves a redirect to `_response`; urllib would read its whole body, and go to ftp as well."""


def _response(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """What a server answers; redirects are followed on the web, and from https to https alone."""
    opener = urllib.request.build_opener(_Http, _Https, _NoRedirects)
    for _ in range(_REDIRECTS + 1):
        try:
            return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            location = error.headers.get('Location')
            if error.code not in (301, 302, 303, 307, 308) or not location:
                raise
            error.close()
        target = urllib.parse.urljoin(url, location)
        allowed = ('https',) if url.lower().startswith('https:') else ('https', 'http')
        if urllib.parse.urlsplit(target).scheme not in allowed:
            raise http.client.HTTPException(f'it redirects to {target!r}, and that is not followed')
        url = urllib.parse.quote(target, safe='!#$%&\'()*+,/:;=?@[]~')  # servers send spaces and the like
    raise http.client.HTTPException(f'it redirects more than {_REDIRECTS} times')


def download(source: Source, path: Path) -> None:
    """Downloads a file, or what is still missing of it, and checks it before it gets its name.

    Args:
        source: Where it is, and its sum.
        path: Where it goes; a file that is there is taken for it if it has the right sum.

    Raises:
        VapsrError: The server cannot be reached or has no such file, the download broke off, is too slow or too large, or
            the sum is wrong.
    """
    if path.is_file():
        if not has_checksum(path, source.checksum):
            raise VapsrError(f'{path} does not have the {source.checksum.partition(":")[0]} sum that {source.url} has: remove '
                             f'it, and run again')
        return
    if not source.url.startswith(('https://', 'http://')):
        raise VapsrError(f'{source.url} is no address on the web: it begins with https:// or http://')
    path.parent.mkdir(parents=True, exist_ok=True)
    part, tag = path.with_name(f'.{path.name}.part'), path.with_name(f'.{path.name}.tag')
    with locked(part):
        have = -_PROGRESS
        while part.stat().st_size >= have + _PROGRESS:
            have = part.stat().st_size
            try:
                _continue(source, part, tag)
                break
            except urllib.error.HTTPError as error:
                raise VapsrError(f'{source.url}: the server answers {error.code} {_printable(error.reason)}: if you have the '
                                 f'file from elsewhere, put it at {path}') from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = _printable(getattr(error, 'reason', None) or error)
                if isinstance(error, _TooSlow):
                    have = part.stat().st_size
        else:
            if not part.stat().st_size:
                part.unlink()
            raise VapsrError(f'{source.url} cannot be downloaded ({reason}): run again to resume, or put the file at {path}')
        if not has_checksum(part, source.checksum):
            part.unlink()
            tag.unlink(missing_ok=True)
            raise VapsrError(f'{source.url}: the download does not have the {source.checksum.partition(":")[0]} sum '
                             f'{source.checksum.partition(":")[2]}, and was removed: run again, or put the right file at '
                             f'{path}')
        part.rename(path)
        tag.unlink(missing_ok=True)


def _printable(reason: object) -> str:
    """What is said of an answer, which may quote what a server sent."""
    text = str(reason)
    return text if text.isprintable() else ascii(text[:80])


def _continue(source: Source, part: Path, tag: Path) -> None:
    """Adds what is missing to `part`; a file that has changed on the server, as `tag` shows, is begun again."""
    have, validator = part.stat().st_size, tag.read_bytes() if tag.is_file() else b''
    headers = {'User-Agent': 'vapsr'}
    if have and re.fullmatch(rb'[ -~]+', validator):
        headers |= {'Range': f'bytes={have}-', 'If-Range': validator.decode()}
    try:
        response = _response(source.url, headers)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing beyond what we have
            if error.headers.get('Content-Range', '').endswith(f'/{have}'):
                return
            part.write_bytes(b'')
            raise http.client.HTTPException('the file on the server is smaller than what was already received') from None
        raise
    with response:
        resumes = response.status == 206
        if resumes and not response.headers.get('Content-Range', '').startswith(f'bytes {have}-'):
            raise http.client.HTTPException('the server sends another part than asked for')
        if not resumes:
            have = 0
            tag.unlink(missing_ok=True)
            tagged = response.headers.get('ETag') or response.headers.get('Last-Modified', '')
            if tagged and not tagged.startswith('W/'):
                tag.write_text(tagged, encoding='utf-8')
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with part.open('ab' if resumes else 'wb') as file, tqdm(
                total=total, initial=have, desc=source.name, unit='B', unit_scale=True, file=sys.stderr) as bar:
            while have <= source.limit and (total or 0) <= source.limit and (chunk := response.read(_CHUNK)):
                have += file.write(chunk)
                bar.update(len(chunk))
        if max(have, total or 0) > source.limit:
            part.write_bytes(b'')
            raise http.client.HTTPException(f'it is of more than {source.limit} bytes, and the file has fewer')
        if total is not None and have != total:
            raise http.client.HTTPException('the connection broke off')
