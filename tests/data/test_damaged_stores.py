"""Packs and LMDBs with damaged bytes: a sentence, whatever they are; and what a new LMDB replaces."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from tests.data.data_helpers import contents, killed_in
from vapsr_arch import files
from vapsr_arch.data.lmdb_store import make_lmdb, open_lmdb
from vapsr_arch.data.pack import Pack, PackWriter
from vapsr_arch.data.recipes import parsed_recipe
from vapsr_arch.errors import VapsrError

Vapsr = Callable[..., tuple[int, str]]
HEADER = {name: (8 + offset, code) for name, offset, code in (
    ('version', 0, '<I'), ('channels', 4, '<I'), ('count', 8, '<Q'), ('recipe_offset', 16, '<Q'), ('recipe_size', 24, '<Q'),
    ('index_offset', 32, '<Q'), ('size', 40, '<Q'))}
RECORD = {'offset': (0, '<Q'), 'name_offset': (8, '<Q'), 'height': (16, '<I'), 'width': (20, '<I'), 'name_size': (24, '<I')}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / 'x.pack'
    with path.open('wb') as file:
        writer = PackWriter(file, {'made_by': 'test'})
        for number, name in enumerate(('a', 'bé', 'c')):
            writer.add(name, np.full((8 + number, 12, 3), number, np.uint8))
        writer.close()
    return path


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open('r+b') as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize('value', [0, 1, 2**31, -1])
@pytest.mark.parametrize('field', HEADER)
def test_a_damaged_header_of_a_pack(field: str, value: int, pack: Path) -> None:
    offset, code = HEADER[field]
    bits = 8 * struct.calcsize(code)
    if field == 'version' and value == 1:
        return
    overwrite(pack, offset, struct.pack(code, value % 2**bits))
    with pytest.raises(VapsrError, match=f'^{pack}'):
        assert Pack(pack).recipe  # its size shows here


@pytest.mark.parametrize('value', [0, 1, 2**31, -1])
@pytest.mark.parametrize('field', RECORD)
@pytest.mark.parametrize('record', [0, 2])
def test_a_damaged_index_of_a_pack(record: int, field: str, value: int, pack: Path) -> None:
    index, = struct.unpack('<Q', pack.read_bytes()[HEADER['index_offset'][0]:][:8])
    offset, code = RECORD[field]
    if field == 'name_size' and value == 1:
        return  # as it is
    overwrite(pack, index + 32 * record + offset, struct.pack(code, value % 2**(8 * struct.calcsize(code))))
    with pytest.raises(VapsrError, match=r'the index of the pack is damaged: make or copy it again'):
        Pack(pack)


@pytest.mark.parametrize(('old', 'new', 'text'), [
    ('bé'.encode(), b'b\xff\xff', 'the name of image 1 of the pack is damaged'),
    ('bé'.encode(), b'b\0c', 'the name of image 1 of the pack is damaged'),
    ('bé'.encode(), b'~~~', 'the order of names of the pack is damaged'),
    (b'{"made_by"', b'["made_by"', 'the recipe of the pack is damaged')])
def test_damaged_names_and_recipes_of_a_pack(old: bytes, new: bytes, text: str, pack: Path) -> None:
    content = pack.read_bytes()
    assert Pack(pack).names() == ['a', 'bé', 'c'] and Pack(pack).recipe == {'made_by': 'test'} and content.count(old) == 1
    pack.write_bytes(content.replace(old, new))
    damaged = Pack(pack)
    with pytest.raises(VapsrError, match=text):
        damaged.names() and damaged.recipe


@pytest.mark.parametrize('content', [b'', b'\xff', b'[1]', b'[' * 100000, b'1' * 5000, b'{"a": ', 'ä'.encode('utf-16')])
def test_recipes_that_are_none(content: bytes) -> None:
    assert parsed_recipe(content) is None


@pytest.fixture
def store(photographs: Path, tmp_path: Path) -> Path:
    make_lmdb([photographs], tmp_path / 'HR.lmdb', workers=1)
    return tmp_path / 'HR.lmdb'


@pytest.mark.parametrize('name', ['.vapsr.json', 'meta_info.txt'])
@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'[1]', b'[' * 100000, b'9' * 5000])
def test_a_damaged_note_beside_an_lmdb(name: str, content: bytes, store: Path, photographs: Path, vapsr_output: Vapsr) -> None:
    (store / name).write_bytes(content)
    before = contents(store)
    code, output = vapsr_output('data', 'lmdb', photographs, store, '--workers', 1)
    assert code == 1 and f'{store} holds something other than these images' in output and contents(store) == before
    assert vapsr_output('data', 'lmdb', photographs, store, '--workers', 1, '--force')[0] == 0
    assert json.loads((store / '.vapsr.json').read_text())['made_by'] == 'vapsr data lmdb'


def test_a_damaged_note_in_a_folder_of_outputs(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    arguments = ('data', 'lr', photographs, tmp_path / 'out', '--scale', 2, '--workers', 1)
    assert vapsr_output(*arguments)[0] == 0
    (tmp_path / 'out/.vapsr.json').write_bytes(b'\xff')
    code, output = vapsr_output(*arguments)
    assert code == 1 and f'{tmp_path}/out holds something other than what vapsr data lr makes' in output


def test_a_size_of_thousands_of_digits_in_an_lmdbs_list(store: Path, vapsr_output: Vapsr) -> None:
    (store / 'meta_info.txt').write_text(f'a.png ({"9" * 5000},1,3) 1')
    code, output = vapsr_output('data', 'check', '--gt', store, '--lq', store, '--scale', 1)
    assert code == 1 and 'is not of the form NAME (HEIGHT,WIDTH,CHANNELS) LEVEL' in output


def large_lmdb(folder: Path) -> None:
    """Records short and long, on three levels of pages."""
    with lmdb.open(str(folder), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for number in range(3000):
            transaction.put(f'{number:0200d}'.encode(), bytes([number % 256]) * (3000 if number % 50 == 0 else 5))


@pytest.mark.parametrize('writers', [1, 2])
def test_lmdbs_of_many_pages_are_sound(writers: int, tmp_path: Path) -> None:
    for _ in range(writers):
        large_lmdb(tmp_path / 'x.lmdb')
    with open_lmdb(tmp_path / 'x.lmdb') as environment, environment.begin() as transaction:
        assert environment.stat()['depth'] > 2 and len(transaction.get(f'{50:0200d}'.encode())) == 3000


@pytest.mark.parametrize(('offset', 'code', 'value', 'reason'), [
    # Of a page: its number, its kind, the ends of its free space, the offset of its first node.
    (0, '<Q', 7, 'is not one of its tree'), (10, '<H', 8, 'is not one of its tree'), (12, '<H', 60000, 'is not one of its tree'),
    (14, '<H', 17, 'is not one of its tree'), (16, '<H', 4095, 'has a node outside of it'), (16, '<H', 2, 'has a node outside')])
def test_damaged_pages_of_an_lmdb(offset: int, code: str, value: int, reason: str, store: Path) -> None:
    page = last_root(store / 'data.mdb')
    overwrite(store / 'data.mdb', 4096 * page + offset, struct.pack(code, value))
    with pytest.raises(VapsrError, match=rf'HR.lmdb: the LMDB cannot be read: it is damaged \(.*{reason}.*\); make or copy it'):
        open_lmdb(store)


@pytest.mark.parametrize(('offset', 'code', 'value'), [
    (0, '<I', 2**32 - 1), (4, '<H', 2), (6, '<H', 4090), (-8, '<Q', 2**40), (-8, '<Q', 1)])
def test_a_record_outside_of_the_file(offset: int, code: str, value: int, store: Path) -> None:
    page = 4096 * last_root(store / 'data.mdb')
    content = (store / 'data.mdb').read_bytes()
    node = page + struct.unpack_from('<H', content, page + 16)[0]
    if offset < 0:  # where the record's pages begin, after the key
        offset = 8 + struct.unpack_from('<H', content, node + 6)[0]
    overwrite(store / 'data.mdb', node + offset, struct.pack(code, value))
    with pytest.raises(VapsrError, match=r'HR\.lmdb: the LMDB cannot be read: it is damaged'):
        open_lmdb(store)


def last_root(path: Path) -> int:
    """The root page of the records by the later of the two meta pages."""
    content = path.read_bytes()
    metas = [struct.unpack_from('<QQQ', content, start + 16 + 24 + 48 + 40) for start in (0, 4096)]
    return max(metas, key=lambda meta: meta[2])[0]


def test_pages_in_a_circle(tmp_path: Path) -> None:
    large_lmdb(tmp_path / 'x.lmdb')
    path = tmp_path / 'x.lmdb/data.mdb'
    root, content = last_root(path), path.read_bytes()
    for place in range(struct.unpack_from('<H', content, 4096 * root + 12)[0] // 2 - 8):
        node = 4096 * root + struct.unpack_from('<H', content, 4096 * root + 16 + 2 * place)[0]
        overwrite(path, node, struct.pack('<HHH', root, 0, 0))
    with pytest.raises(VapsrError, match='its pages form a circle'):
        open_lmdb(tmp_path / 'x.lmdb')


def test_an_lmdb_damaged_since_it_was_made_is_made_again(store: Path, photographs: Path, vapsr_output: Vapsr) -> None:
    before = contents(store)
    overwrite(store / 'data.mdb', 4096 * last_root(store / 'data.mdb'), b'\xff' * 100)
    assert vapsr_output('data', 'lmdb', photographs, store, '--workers', 1)[0] == 0
    assert contents(store) == before


@pytest.mark.parametrize(('module', 'name', 'replaced'), [
    ('vapsr_arch.files', '_exchange', False), ('vapsr_arch.files', '_flush', False),
    ('vapsr_arch.data.lmdb_store', 'shutil.rmtree', True)])
def test_an_lmdb_stands_until_the_new_one_is_in_place(module: str, name: str, replaced: bool, store: Path, photographs: Path,
                                                      tmp_path: Path, vapsr_output: Vapsr) -> None:
    shutil.copytree(photographs, tmp_path / 'more')
    shutil.copy(photographs / 'a.png', tmp_path / 'more/e.png')
    arguments = ('data', 'lmdb', tmp_path / 'more', store, '--workers', 1, '--force')
    killed_in(module, name, 1, *arguments)
    with open_lmdb(store) as environment:
        assert environment.stat()['entries'] == (5 if replaced else 4)
    assert vapsr_output(*arguments)[0] == 0
    assert not list(tmp_path.glob('.*')) and (store / 'meta_info.txt').read_text().count('\n') == 5


@pytest.mark.parametrize('kind', ['folder', 'link', 'file', 'nothing'])
@pytest.mark.parametrize('swaps', [True, False])
def test_a_folder_takes_the_place_of_anything(kind: str, swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not swaps:
        monkeypatch.setattr(files, '_exchange', lambda one, other: False)
    new, old = tmp_path / 'new', tmp_path / 'old'
    new.mkdir()
    (new / 'x').touch()
    {'folder': lambda: (old / 'deep').mkdir(parents=True), 'link': lambda: old.symlink_to(tmp_path), 'file': old.touch,
     'nothing': lambda: None}[kind]()
    files.replace_folder(new, old)
    assert (old / 'x').is_file() and not old.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == ({'old'} if kind == 'nothing' else {'old', 'new'})
    assert kind != 'link' or new.is_symlink()
