"""Damaged packs, LMDBs, notes beside them and archives."""

import functools
import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from tests.fuzz.cases import Outcome, damaged, taken
from vapsr_arch.archives import unpack
from vapsr_arch.data.images import decode
from vapsr_arch.data.lmdb_store import make_lmdb, open_lmdb
from vapsr_arch.data.pack import Pack, PackWriter
from vapsr_arch.data.pairs import read_lmdb_headers

Case = tuple[str, bytes]


@functools.cache
def _folder() -> Path:
    """A folder of three images and their LMDB; it goes with the process's temporary files."""
    folder = Path(tempfile.mkdtemp(prefix='vapsr-fuzz-'))
    (folder / 'HR').mkdir()
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 256, (40 if number == 2 else 4, 40, 3), np.uint8)
        (folder / f'HR/{number}.png').write_bytes(cv2.imencode('.png', image)[1].tobytes())
    make_lmdb([folder / 'HR'], folder / 'x.lmdb', workers=1)
    return folder


def _pack() -> bytes:
    with tempfile.TemporaryFile() as file:
        writer = PackWriter(file, {'made_by': 'test', 'scale': 2})
        for number, name in enumerate(('a', 'é', '写真')):
            writer.add(name, np.zeros((number + 1, 2, 3), np.uint8))
        writer.close()
        file.seek(0)
        return file.read()


def _archives() -> list[bytes]:
    archives = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w', method) as file:
            file.writestr('set/a.png', b'abc' * 50)
            file.writestr('set/é.png', b'x')
        archives.append(buffer.getvalue())
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w', format=kind) as file:
            for name in ('set/a.png', f'set/{"é" * 40}.png'):
                info = tarfile.TarInfo(name)
                info.size = 3
                file.addfile(info, io.BytesIO(b'abc'))
        archives.append(buffer.getvalue())
    return archives


def _without_page(content: bytes) -> bytes:
    """A pack without the zeros of its first page, so that a change seldom misses; `_with_page` puts them back."""
    return content[:56] + content[4096:]


def _with_page(content: bytes) -> bytes:
    return content[:56] + bytes(4096 - 56) + content[56:]


def cases() -> st.SearchStrategy[Case]:
    """Kinds of stores with a file's bytes."""
    store = _folder() / 'x.lmdb'
    files = {'pack': [_without_page(_pack())], 'archive': _archives()} | {
        name: [(store / name).read_bytes()] for name in ('data.mdb', 'meta_info.txt', '.vapsr.json')}
    return st.one_of(*(st.tuples(st.just(kind), damaged(originals)) for kind, originals in files.items()))


def _read_pack(path: Path) -> None:
    pack = Pack(path)
    for position, name in enumerate(pack.names()):
        assert pack[position].shape[:2] == pack.shape(position) and pack.find(name) == position
        pack[position].sum()
    assert isinstance(pack.recipe, dict)


def _read_lmdb(store: Path) -> None:
    keys = read_lmdb_headers(str(store))
    with open_lmdb(store) as environment, environment.begin() as transaction:
        for key in (*keys, '0', '1', '2'):
            decode(transaction.get(key.encode()[:511] or b'-'), key)


def _unpack(archive: Path, folder: Path) -> None:
    outside = sorted(folder.parent.iterdir())
    try:
        unpack(archive, folder, r'set/(.*)', r'\1')
    except Exception:
        assert not folder.exists(), 'an archive that is refused left something'
        raise
    finally:
        assert set(folder.parent.iterdir()) <= {*outside, folder}, 'an archive wrote outside of its folder'


def _run(kind: str, content: bytes, folder: Path) -> None:
    if kind == 'pack':
        (folder / 'x.pack').write_bytes(_with_page(content))
        _read_pack(folder / 'x.pack')
    elif kind == 'archive':
        (folder / 'archive').write_bytes(content)
        _unpack(folder / 'archive', folder / 'out')
    else:
        store = folder / 'x.lmdb'
        shutil.copytree(_folder() / 'x.lmdb', store)
        (store / kind).write_bytes(content)
        if kind == '.vapsr.json':
            make_lmdb([_folder() / 'HR'], store, workers=1)
        else:
            _read_lmdb(store)


def run(case: Case) -> Outcome:
    """Reads a damaged store in every way that the program does."""
    kind, content = case
    work: Callable[[Path], None] = functools.partial(_run, kind, content)
    with tempfile.TemporaryDirectory(prefix='vapsr-fuzz-') as folder:
        return taken(functools.partial(work, Path(folder)), len(content))
