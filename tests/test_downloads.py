"""Downloads from a server on loopback: stopped, resumed, wrong, unpacked; without a network; the authors' weights."""

import hashlib
import io
import re
import socket
import tarfile
import zipfile
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.data.data_helpers import contents, cut_off_at, killed_in
from vapsr_arch.data import public_sets
from vapsr_arch.downloads import Source, download, unpack
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.authors import CHECKPOINTS

Vapsr = Callable[..., tuple[int, str]]
CONTENT = bytes(range(256)) * 20000


def tar(members: dict[str, bytes | str]) -> bytes:
    """A tar archive; a str stands for a link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


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


def test_a_download_that_breaks_off_goes_on(server: ThreadingHTTPServer, tmp_path: Path) -> None:
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
    with pytest.raises(VapsrError, match=r'has not the md5 sum 0{32}, and was removed: run again, or put the right file at'):
        download(wanted, tmp_path / 'file.bin')
    assert contents(tmp_path) == {}
    (tmp_path / 'file.bin').write_bytes(b'mine')
    with pytest.raises(VapsrError, match='has not the md5 sum that'):
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
    assert code == 2 and 'Set6 is not a set that can be fetched; known: Set5, Set14, B100' in output
    assert 'has no files of Set14' in vapsr_output('data', 'fetch', 'Set14', *options)[1]
    (tmp_path / 'Set5').mkdir()
    (tmp_path / 'Set5/mine.txt').touch()
    code, output = vapsr_output('data', 'fetch', 'Set5', *options)
    assert code == 1 and 'Set5 holds something else than vapsr data fetch' in output
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


@pytest.mark.parametrize('make', [tar, zipped])
@pytest.mark.parametrize('name', ['../out.png', '/tmp/out.png', 'a/../../out.png', 'a\\..\\out.png'])
def test_nothing_is_unpacked_outside_of_the_folder(make: Callable, name: str, tmp_path: Path) -> None:
    (tmp_path / 'archive').write_bytes(make({name: b'bad'}))
    with pytest.raises(VapsrError, match='is a link or leads out of the folder'):
        unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1')
    assert contents(tmp_path).keys() == {'archive'}


def test_links_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo('link.png')
    link.external_attr = 0o120777 << 16
    archives = {'tar': tar({'link.png': '/etc/passwd'}), 'zip': zipped({link: b'/etc/passwd'})}
    for name, content in archives.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VapsrError, match=r'link\.png is a link or leads out of the folder'):
            unpack(tmp_path / name, tmp_path / 'folder', '(.*)', r'\1')
    damaged = {'tar': tar({'a.png': CONTENT})[:90000], 'zip': zipped({'a.png': CONTENT})[:-30], 'no': b'x'}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VapsrError, match=r'is damaged \(.*\): remove it, and run again'):
            unpack(tmp_path / name, tmp_path / 'folder', '(.*)', r'\1')
    assert not (tmp_path / 'folder/a.png').exists()


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
    assert code == 2 and 'VapSR_X5 is not a checkpoint that can be fetched; known: VapSR_X2' in output


def test_weights_are_those_of_reference(reference: Path, server: ThreadingHTTPServer, tmp_path: Path,
                                        vapsr_output: Vapsr) -> None:
    sums = dict(reversed(line.split()) for line in (reference / 'weights/SHA256SUMS').read_text().splitlines())
    assert {f'{name}.pth': checkpoint.sha256 for name, checkpoint in CHECKPOINTS.items()} == sums
    server.files['net_g_BSRN-S.pth'] = (reference / 'weights/BSRN-S.pth').read_bytes()
    server.files['VapSR-S.pth'] = b'another'
    code, output = vapsr_output('weights', 'get', 'BSRN-S.pth', 'VapSR-S', '--out', tmp_path, '--mirror', server.url)
    assert code == 1 and 'licence: MIT' in output and 'has not the sha256 sum 4ca434fc' in output
    assert contents(tmp_path) == {'BSRN-S.pth': server.files['net_g_BSRN-S.pth']}
