"""Archives: damaged, encrypted, with links, bombs and names that lead elsewhere."""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archive_helpers import tar, zipped
from tests.data.data_helpers import contents
from vapsr_arch.archives import unpack
from vapsr_arch.errors import VapsrError

CONTENT = bytes(range(256)) * 20000


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


def zip_of(compression: int, *, damaged: int | None = None, **header: int) -> bytes:
    """A zip of two files; of the second, a byte of its content or a field of its entry in the directory is changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        file.writestr('a.png', b'a')
        file.writestr('b.png', CONTENT[:3000])
        start = file.infolist()[1].header_offset + 30 + len('b.png')
    content = bytearray(buffer.getvalue())
    if damaged is not None:
        content[start + damaged] ^= 0xff
    entry = content.rindex(b'PK\1\2')
    for field, value in header.items():
        offset = {'version': 6, 'flags': 8, 'method': 10}[field]
        content[entry + offset:entry + offset + 2] = value.to_bytes(2, 'little')
    return bytes(content)


@pytest.mark.parametrize(('content', 'text'), [
    (zip_of(zipfile.ZIP_STORED, flags=1), 'b.png is encrypted'), (zip_of(zipfile.ZIP_STORED, method=99), r'is damaged \('),
    (zip_of(zipfile.ZIP_STORED, version=99), r'is damaged \('), (zip_of(zipfile.ZIP_STORED, damaged=5), r'is damaged \('),
    (zip_of(zipfile.ZIP_DEFLATED, damaged=5), r'is damaged \('), (zip_of(zipfile.ZIP_BZIP2, damaged=30), r'is damaged \('),
    (zip_of(zipfile.ZIP_LZMA, damaged=4), r'is damaged \('), (zip_of(zipfile.ZIP_LZMA, damaged=60), r'is damaged \('),
    (zipped({'a.png': b'x', 'A.PNG': b'y'}), 'A.PNG has the name of another file in it, but for case perhaps'),
    (zipped({'é.png': b'x', 'e\u0301.png': b'y'}), 'has the name of another file in it'),
    (zipped({'a': b'x', 'a/b': b'y'}), 'a/b has the name of another file in it'),
    (zipped({'a/b': b'x', 'A': b'y'}), 'A has the name of another file in it'),
    (tar({'a': b'x', './a': b'y'}), 'a has the name of another file in it'),
    (tar({'a': b'x', 'b': b'\0' * 10**5}).replace(b'00000303240', b'77777777777'), 'a header is damaged'),
    (lzma.compress(tar({'a': b'x'})), r'is damaged \('), (b'BZh9' + b'x' * 100, r'is damaged \(')])
def test_archives_that_are_refused_leave_nothing(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / 'archive').write_bytes(content)
    with pytest.raises(VapsrError, match=text):
        unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1')
    assert [path.name for path in tmp_path.iterdir()] == ['archive']


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_every_method_are_unpacked(method: int, tmp_path: Path) -> None:
    (tmp_path / 'archive').write_bytes(zip_of(method))
    assert unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1') == 2
    assert contents(tmp_path / 'folder') == {'a.png': b'a', 'b.png': CONTENT[:3000]}


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'archive', 'w', zipfile.ZIP_DEFLATED) as file:
        for number in range(80):
            file.writestr(f'{number}.png', bytes(2**20))
    with pytest.raises(VapsrError, match='its files are more than 20 times as large'):
        unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1')
    assert contents(tmp_path).keys() == {'archive'}


@pytest.mark.parametrize('kind', [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_special_files_are_refused(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo('a.png')
    info.type, info.linkname = kind, 'b.png'
    (tmp_path / 'archive').write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(VapsrError, match=r'a\.png is a link or leads out of the folder'):
        unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1')


def test_files_that_were_there_stay_when_an_archive_is_damaged(tmp_path: Path) -> None:
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder/mine.png').write_bytes(b'mine')
    (tmp_path / 'folder/a.png').write_bytes(b'a')
    (tmp_path / 'archive').write_bytes(zip_of(zipfile.ZIP_STORED, damaged=5))
    with pytest.raises(VapsrError, match=r'is damaged \('):
        unpack(tmp_path / 'archive', tmp_path / 'folder', '(.*)', r'\1')
    assert contents(tmp_path / 'folder') == {'mine.png': b'mine', 'a.png': b'a'}
