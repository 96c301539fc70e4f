"""Downloads from a server on loopback: stopped, resumed, wrong; without a network; sets and the authors' weights."""

import contextlib
import functools
import hashlib
import http.client
import io
import itertools
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.archive_helpers import tar
from tests.conftest import Handler
from tests.data.data_helpers import contents, cut_off_at, killed_in
from vapsr_arch.data import public_sets
from vapsr_arch.downloads import Source, _response, download
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.authors import CHECKPOINTS

Vapsr = Callable[..., tuple[int, str]]
CONTENT = bytes(range(256)) * 20000


def source(server: ThreadingHTTPServer, content: bytes = CONTENT) -> Source:
    server.files['file.bin'] = content
    return Source(f'{server.url}/file.bin', 'sha256:' + hashlib.sha256(content).hexdigest())


@pytest.fixture
def benchmark(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Serves a small benchmark.tar, with its own sum."""
    paths = ('HR/baby.png', 'LR_bicubic/X2/babyx2.png', 'LR_bicubic/X4/babyx4.png')
    files = {f'benchmark/{name}/{path}': f'{name} {path}'.encode() * 100000 for name in ('Set5', 'B100') for path in paths}
    server.files['benchmark.tar'] = tar(files)
    checksum = 'sha256:' + hashlib.sha256(server.files['benchmark.tar']).hexdigest()
    for name in ('Set5', 'Set14', 'B100'):
        parts = tuple(part._replace(source=part.source._replace(checksum=checksum)) for part in public_sets.SETS[name])
        monkeypatch.setitem(public_sets.SETS, name, parts)
    return server.files['benchmark.tar']


def test_a_download_that_breaks_off_is_resumed(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.limit = 3_000_000
    download(source(server), tmp_path / 'file.bin')
    assert server.ranges == [None, 'bytes=3000000-']
    assert contents(tmp_path) == {'file.bin': CONTENT}


def test_a_file_that_has_changed_is_begun_again(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / '.file.bin.part').write_bytes(b'old')
    (tmp_path / '.file.bin.tag').write_text('"0"')
    download(source(server), tmp_path / 'file.bin')
    assert server.ranges == ['bytes=3-'] and contents(tmp_path) == {'file.bin': CONTENT}


def test_a_complete_part_only_gets_its_name(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / '.file.bin.part').write_bytes(CONTENT)
    (tmp_path / '.file.bin.tag').write_text('"1"')
    download(source(server), tmp_path / 'file.bin')
    assert contents(tmp_path) == {'file.bin': CONTENT}


def test_a_wrong_sum_leaves_no_file(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    wanted = source(server)._replace(checksum='md5:' + '0' * 32)
    with pytest.raises(VapsrError, match=r'does not have the md5 sum 0{32}, and was removed: run again, or put the right file'):
        download(wanted, tmp_path / 'file.bin')
    assert contents(tmp_path) == {}
    (tmp_path / 'file.bin').write_bytes(b'mine')
    with pytest.raises(VapsrError, match='does not have the md5 sum that'):
        download(wanted, tmp_path / 'file.bin')


def test_no_network_and_no_file_are_one_sentence(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/file.bin'
        with pytest.raises(VapsrError, match=re.escape(url) + r' cannot be downloaded .* put the file at .*file\.bin$'):
            download(Source(url), tmp_path / 'file.bin')
    with pytest.raises(VapsrError, match=r'nonsense/none\.bin is no address on the web: it begins with https:// or http://'):
        download(Source('https://example.org/none.bin').from_mirror('nonsense'), tmp_path / 'none.bin')
    with pytest.raises(VapsrError, match=r'http://\[x/none\.bin cannot be downloaded'):
        download(Source('http://[x/none.bin'), tmp_path / 'none.bin')
    with pytest.raises(VapsrError, match='the server answers 404 Not Found: if you have the file from elsewhere, put it at'):
        download(Source(f'{server.url}/none.bin'), tmp_path / 'none.bin')


def test_sets_are_unpacked_with_names_that_pair(benchmark: bytes, server: ThreadingHTTPServer, tmp_path: Path,
                                                vapsr_output: Vapsr) -> None:
    arguments = ('data', 'fetch', 'Set5', 'B100', '--out', tmp_path, '--mirror', server.url)
    code, output = vapsr_output(*arguments)
    assert code == 0, output
    files = {name for name in contents(tmp_path) if not Path(name).name.startswith('.')}
    assert files == {'archives/benchmark.tar', *(f'{name}/{path}' for name in ('Set5', 'B100') for path in (
        'HR/baby.png', 'LR_bicubic/X2/baby.png', 'LR_bicubic/X4/baby.png'))}
    assert len(server.ranges) == 1
    assert 'Set5 is complete already: kept' in vapsr_output(*arguments)[1] and len(server.ranges) == 1


def test_an_archive_put_by_hand_is_taken(benchmark: bytes, server: ThreadingHTTPServer, tmp_path: Path,
                                         vapsr_output: Vapsr) -> None:
    (tmp_path / 'archives').mkdir()
    (tmp_path / 'archives/benchmark.tar').write_bytes(benchmark)
    assert vapsr_output('data', 'fetch', 'Set5', '--out', tmp_path, '--mirror', server.url)[0] == 0
    assert server.ranges == [] and (tmp_path / 'Set5/HR/baby.png').is_file()


def test_faults_of_a_set(benchmark: bytes, server: ThreadingHTTPServer, tmp_path: Path, vapsr_output: Vapsr) -> None:
    options = ('--out', tmp_path, '--mirror', server.url)
    code, output = vapsr_output('data', 'fetch', 'Set6', *options)
    assert code == 2 and 'Set6 is not a set that can be downloaded; known: Set5, Set14, B100' in output
    assert 'has no files of Set14' in vapsr_output('data', 'fetch', 'Set14', *options)[1]
    assert not any((tmp_path / 'Set14').iterdir())  # so that the folder can have another use
    (tmp_path / 'Set5').mkdir()
    (tmp_path / 'Set5/mine.txt').touch()
    code, output = vapsr_output('data', 'fetch', 'Set5', *options)
    assert code == 1 and 'Set5 holds something other than what vapsr data fetch' in output
    assert vapsr_output('data', 'fetch', 'Set5', *options, '--force')[0] == 0


@pytest.fixture
def checkpoint(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serves a made-up VapSR-S.pth, with its own sum."""
    server.files['VapSR-S.pth'] = CONTENT
    monkeypatch.setitem(CHECKPOINTS, 'VapSR-S', CHECKPOINTS['VapSR-S']._replace(sha256=hashlib.sha256(CONTENT).hexdigest()))


FETCH = ('data', 'fetch', 'Set5')
GET = ('weights', 'get', 'VapSR-S')


@pytest.mark.parametrize(('command', 'function', 'count', 'asked'), [
    # Between two steps: killed when a function is called for the `count`th time.
    (FETCH, 'vapsr_arch.downloads:tqdm.update', 2, ['bytes=2097152-']), (FETCH, 'vapsr_arch.downloads:Path.rename', 1, None),
    (FETCH, 'vapsr_arch.files:Path.replace', 2, []), (FETCH, 'vapsr_arch.files:Path.replace', 4, []),
    (GET, 'vapsr_arch.downloads:tqdm.update', 2, ['bytes=2097152-']), (GET, 'vapsr_arch.downloads:Path.rename', 1, None),
    # In the middle of a write: killed when a file has `count` bytes.
    (FETCH, None, 1, None), (FETCH, None, 3_000_000, ['bytes=3000000-']), (GET, None, 3_000_000, ['bytes=3000000-'])])
def test_killed_and_run_again_gives_the_same_bytes(command: tuple, function: str | None, count: int, asked: list[str] | None,
                                                   benchmark: bytes, checkpoint: None, tmp_path: Path,
                                                   server: ThreadingHTTPServer, vapsr_output: Vapsr) -> None:
    def arguments(folder: str) -> tuple:
        return *command, '--out', tmp_path / folder, '--mirror', server.url
    assert vapsr_output(*arguments('undisturbed'))[0] == 0
    if function:
        # The subprocess knows the real files' sums alone.
        setup = 'import vapsr_arch.downloads as fetch\nfetch.has_checksum = lambda path, checksum: True\n'
        killed_in(*function.split(':'), count, *arguments('killed'), setup=setup)
    else:
        cut_off_at(count, *arguments('killed'))
    left, wanted = contents(tmp_path / 'killed'), contents(tmp_path / 'undisturbed')
    for name in left:  # what is half-written is hidden
        assert Path(name).name.startswith('.') or left[name] == wanted[name]
    assert left and left != wanted
    server.ranges.clear()
    assert vapsr_output(*arguments('killed'))[0] == 0
    assert asked is None or server.ranges == asked
    assert contents(tmp_path / 'killed') == wanted


@pytest.mark.parametrize(('command', 'url', 'path'), [
    (FETCH, 'benchmark.tar', 'archives/benchmark.tar'), (GET, 'VapSR-S.pth', 'VapSR-S.pth')])
def test_commands_without_a_network(command: tuple, url: str, path: str, tmp_path: Path, vapsr_output: Vapsr) -> None:
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        mirror = f'http://127.0.0.1:{unused.getsockname()[1]}'
        code, output = vapsr_output(*command, '--out', tmp_path, '--mirror', mirror)
    assert code == 1
    assert re.fullmatch(rf'Error: {mirror}/{re.escape(url)} cannot be downloaded \(.*\): run again to resume, or put the file at '
                        rf'{tmp_path}/{re.escape(path)}', output.splitlines()[-1])


def test_public_addresses_and_patterns() -> None:
    for name in ('Set5', 'Set14', 'B100', 'Urban100', 'DIV2K', 'Flickr2K'):
        for part in public_sets.SETS[name]:
            assert part.source.url.startswith('https://') and re.fullmatch('(md5:.{32}|sha256:.{64})', part.source.checksum)
    for part, member in zip(public_sets.SETS['DIV2K'], ('DIV2K_train_HR/0001.png', 'DIV2K_valid_HR/0801.png')):
        assert re.fullmatch(part.pattern, member)


def test_weights_are_listed_with_licences(vapsr_output: Vapsr) -> None:
    code, output = vapsr_output('weights', 'list')
    assert code == 0 and len(output.splitlines()) == 15
    assert re.search(r'BSRN_x4 +MIT +https://github.com/xiaom233/BSRN/raw/HEAD/experiments/.*/net_g_BSRN_x4\.pth', output)
    code, output = vapsr_output('weights', 'get', 'VapSR_X5')
    assert code == 2 and "VapSR_X5 is not a checkpoint that `vapsr weights list` names; did you mean 'VapSR_X" in output


def test_weights_are_those_of_reference(reference: Path, server: ThreadingHTTPServer, tmp_path: Path,
                                        vapsr_output: Vapsr) -> None:
    sums = dict(reversed(line.split()) for line in (reference / 'weights/SHA256SUMS').read_text().splitlines())
    assert {f'{name}.pth': checkpoint.sha256 for name, checkpoint in CHECKPOINTS.items()} == sums
    server.files['net_g_BSRN-S.pth'] = (reference / 'weights/BSRN-S.pth').read_bytes()
    server.files['VapSR-S.pth'] = b'another'
    code, output = vapsr_output('weights', 'get', 'BSRN-S.pth', 'VapSR-S', '--out', tmp_path, '--mirror', server.url)
    assert code == 1 and 'licence: MIT' in output and 'does not have the sha256 sum 4ca434fc' in output
    assert contents(tmp_path) == {'BSRN-S.pth': server.files['net_g_BSRN-S.pth']}


def answers(server: ThreadingHTTPServer, respond: Callable[[Handler], None], monkeypatch: pytest.MonkeyPatch) -> Source:
    """Has the server answer in another way than from `server.files`."""
    monkeypatch.setattr(Handler, 'do_GET', respond)
    return Source(f'{server.url}/file.bin')


def endless(handler: Handler, *, length: int | None = None, in_headers: bool = False) -> None:
    """Sends until the other side closes."""
    handler.send_response(200)
    if length:
        handler.send_header('Content-Length', str(length))
    if not in_headers:
        handler.end_headers()
    handler.flush_headers()
    try:
        while True:
            handler.wfile.write((b'x: ' + b'x' * 1000 + b'\r\n') if in_headers else b'x' * 1000)
    except OSError:
        handler.close_connection = True


@pytest.mark.parametrize('in_headers', [False, True])
def test_a_slow_drip_has_an_end(in_headers: bool, server: ThreadingHTTPServer, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    dripping = answers(server, functools.partialmethod(endless, in_headers=in_headers), monkeypatch)
    clock = itertools.count(step=10**7)  # seconds between two looks at the clock
    monkeypatch.setattr('vapsr_arch.downloads.time', SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(VapsrError, match=r'cannot be downloaded \(it sends less than 1024 bytes a second\): run again to resume'):
        download(dripping, tmp_path / 'file.bin')
    assert not (tmp_path / 'file.bin').exists()


@pytest.mark.parametrize('length', [None, 10**6])
def test_a_file_has_a_largest_size(length: int | None, server: ThreadingHTTPServer, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    large = answers(server, functools.partialmethod(endless, length=length), monkeypatch)._replace(limit=10**5)
    monkeypatch.setattr('vapsr_arch.downloads._CHUNK', 1000)
    with pytest.raises(VapsrError, match='it is of more than 100000 bytes, and the file has fewer'):
        download(large, tmp_path / 'file.bin')
    assert contents(tmp_path) == {}


def test_a_server_that_breaks_off_ever_sooner_is_left(server: ThreadingHTTPServer, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(10**5, 0, -1))

    def breaks_off(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header('Content-Length', '200000')
        handler.end_headers()
        handler.wfile.write(b'x' * next(sizes))
    with pytest.raises(VapsrError, match=r'cannot be downloaded \(the connection broke off\): run again to resume'):
        download(answers(server, breaks_off, monkeypatch), tmp_path / 'file.bin')
    assert next(sizes) == 10**5 - 2


@pytest.mark.parametrize('answer', [b'HTTP/1.1 \x1b[31m\r\n\r\n', b'\x1b]0;x\x07\r\n', b'HTTP/1.1 500 \x1b[31m\r\n\r\n',
                                    b'HTTP/1.1 200 OK\r\nContent-Length: \x1b[31m\r\n\r\n'])
def test_what_is_no_http_is_one_line_that_can_be_printed(answer: bytes, server: ThreadingHTTPServer, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VapsrError) as caught:
        download(answers(server, lambda handler: handler.wfile.write(answer), monkeypatch), tmp_path / 'file.bin')
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(('location', 'text'), [
    ('ftp://127.0.0.1/x', "it redirects to 'ftp://127.0.0.1/x', and that is not followed"),
    ('file:///etc/passwd', "it redirects to 'file:///etc/passwd', and that is not followed"),
    ('/again', 'it redirects more than 10 times')])
def test_redirects_that_are_not_followed(location: str, text: str, server: ThreadingHTTPServer, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def redirects(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header('Location', location)
        handler.end_headers()
    with pytest.raises(VapsrError, match=re.escape(text)):
        download(answers(server, redirects, monkeypatch), tmp_path / 'file.bin')


def redirect(url: str, location: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for if the first one redirects."""
    asked = []

    class Opener:
        def open(self, request: urllib.request.Request, timeout: float) -> None:
            asked.append(request.full_url)
            headers = http.client.HTTPMessage()
            if len(asked) == 1:
                headers['Location'] = location
            raise urllib.error.HTTPError(request.full_url, 301 if len(asked) == 1 else 404, 'x', headers, io.BytesIO())
    monkeypatch.setattr('urllib.request.build_opener', lambda *handlers: Opener())
    with contextlib.suppress(urllib.error.HTTPError, http.client.HTTPException):
        _response(url, {})
    return asked


@pytest.mark.parametrize(('url', 'location', 'last'), [
    ('http://a/x', 'https://b/y', 'https://b/y'), ('http://a/x', 'y z', 'http://a/y%20z'), ('https://a/x', '//b/y', 'https://b/y'),
    ('HTTPS://a/x', 'http://b/y', None), ('https://a/x', 'ftp://b/y', None), ('https://a/x', 'HTTP://b/y', None)])
def test_redirects_stay_on_the_web_and_encrypted(url: str, location: str, last: str | None,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    assert redirect(url, location, monkeypatch) == [url] + [last] * bool(last)


@pytest.mark.parametrize('tag', [b'\xff', b'"1"\n', b'', 'é'.encode()])
def test_a_damaged_tag_begins_again(tag: bytes, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / '.file.bin.part').write_bytes(b'old')
    (tmp_path / '.file.bin.tag').write_bytes(tag)
    download(source(server), tmp_path / 'file.bin')
    assert server.ranges == [None] and contents(tmp_path) == {'file.bin': CONTENT}
