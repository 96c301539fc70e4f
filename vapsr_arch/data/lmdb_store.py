"""LMDBs of image files, as BasicSR's own back end reads them: `data.mdb`, and `meta_info.txt` with the keys and sizes.

BasicSR takes ASCII keys only and cuts them at the first dot, so that an image's key is its name without suffix,
percent-encoded (RFC 3986) but for ASCII letters, digits, `_`, `-` and `~`: `photo.1` becomes `photo%2E1`, `été` becomes
`%C3%A9t%C3%A9`. Two names never share a key, and `urllib.parse.unquote` gives the name back.

The records are the files' own bytes: nothing is decoded and compressed again.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lmdb
from tqdm import tqdm

from vapsr_arch.data.batch import counted, inputs_of, refuse_inputs, run_batch, sources_of
from vapsr_arch.data.images import read_as_it_is, read_bytes
from vapsr_arch.data.lmdb_pages import check_pages
from vapsr_arch.data.recipes import RECIPE, read_recipe
from vapsr_arch.errors import VapsrError, raise_faults
from vapsr_arch.files import locked, replace_folder

_LONGEST_KEY = 511  # LMDB's limit
_COMMIT_BYTES = 64 * 2**20


def key_of(stem: str) -> str:
    """The key of an image by its name without suffix."""
    return quote(stem, safe='').replace('.', '%2E')


def open_lmdb(folder: str | os.PathLike) -> lmdb.Environment:
    """Opens an LMDB for reading; a process may do so once.

    Raises:
        VapsrError: It is damaged or cut off.
    """
    check_pages(Path(folder, 'data.mdb'))
    try:
        return lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise VapsrError(f'{folder}: the LMDB cannot be read: {error}') from None


def _shape(source: Path) -> tuple[int, int, int]:
    """Height, width and channels of an image that decodes and has a key."""
    key = key_of(source.stem)
    if len(key) > _LONGEST_KEY:
        raise VapsrError(f'{source}: its name makes a key of {len(key)} bytes, and LMDB takes {_LONGEST_KEY}: shorten it')
    return (*read_as_it_is(source).shape, 1)[:3]


def _map_size(sizes: Sequence[int]) -> int:
    """Bytes that hold records of these sizes: whole pages each, and twice what the pages of the tree take."""
    page = 4096
    pages = sum(-(-(size + 16) // page) + 1 for size in sizes)
    return page * (pages + len(sizes) // 4 + 256)


def _meta_info(shapes: dict[Path, tuple[int, int, int]]) -> Iterator[str]:
    for source, (height, width, channels) in shapes.items():
        yield f'{key_of(source.stem)}.png ({height},{width},{channels}) 1\n'  # nobody reads the last, a compression level


def _write(folder: Path, recipe: dict[str, Any], shapes: dict[Path, tuple[int, int, int]]) -> None:
    environment = lmdb.open(str(folder), map_size=_map_size([source.stat().st_size for source in shapes]))
    transaction, pending = environment.begin(write=True), 0
    for source in tqdm(shapes, 'LMDB', unit='image', file=sys.stderr):
        content = read_bytes(source)
        transaction.put(key_of(source.stem).encode(), content)
        pending += len(content)
        if pending >= _COMMIT_BYTES:
            transaction.commit()
            transaction, pending = environment.begin(write=True), 0
    transaction.commit()
    environment.sync(True)
    environment.close()
    (folder / 'lock.mdb').unlink()  # for writers; readers do not lock
    (folder / 'meta_info.txt').write_text(''.join(_meta_info(shapes)), encoding='utf-8')
    (folder / RECIPE).write_text(json.dumps(recipe) + '\n', encoding='utf-8')


def _is_finished(out: Path, recipe: dict[str, Any], sources: Sequence[Path], force: bool) -> bool:
    """Whether `out` holds these images already; False if it may be written.

    Raises:
        VapsrError: It holds something else.
    """
    if not out.exists():
        return False
    meta_info = out / 'meta_info.txt'
    names = set()
    if meta_info.is_file() and read_recipe(out) == recipe:
        names = {line.split('.')[0] for line in meta_info.read_text(encoding='utf-8', errors='replace').splitlines()}
    wanted = {key_of(source.stem) for source in sources}
    if not force and (not names or names - wanted):
        raise VapsrError(f'{out} holds something other than these images: choose another name, or replace it with --force')
    made = meta_info.stat().st_mtime_ns if names else 0
    if names != wanted or any(source.stat().st_mtime_ns > made for source in sources):
        return False
    try:
        check_pages(out / 'data.mdb')
    except VapsrError:  # damaged since
        return False
    return True


def _remove(path: Path) -> None:
    """Removes a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_lmdb(folders: Sequence[Path], out: Path, workers: int | None = None, force: bool = False) -> None:
    """Puts a folder's images into an LMDB.

    It is built beside its place under a hidden name, and renamed when it is complete; until then, an LMDB that it replaces
    stays where it is.

    Args:
        folders: The images, of any sizes.
        out: The LMDB, named `NAME.lmdb`; one that holds these images already is kept.
        workers: Processes that check the images; None for one a core.
        force: Replace an LMDB or a folder that holds something else.

    Raises:
        VapsrError: The folders or the output cannot be used, or some images failed: they are named, the others are done.
    """
    if out.suffix != '.lmdb':
        raise VapsrError(f'{out}: BasicSR needs LMDBs to be named NAME.lmdb')
    sources = sources_of(folders)
    refuse_inputs(folders, [out])
    recipe = {'made_by': 'vapsr data lmdb', 'from': inputs_of(folders, out.parent)}
    temporary = out.with_name(f'.{out.name}.tmp')
    if _is_finished(out, recipe, sources, force):
        if temporary.is_dir():  # what it took the place of, when the run was killed then
            with locked(temporary):
                _remove(temporary)
        print(f'{out} is finished already: kept')
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir(exist_ok=True)
    with locked(temporary):
        try:
            for path in temporary.iterdir():  # of a run that was killed
                _remove(path)
            results = dict(run_batch(_shape, sources, 'images', workers))
            faults = [result for result in results.values() if isinstance(result, VapsrError)]
            shapes = {source: shape for source, shape in results.items() if not isinstance(shape, VapsrError)}
            if shapes:
                _write(temporary, recipe, shapes)
                replace_folder(temporary, out)
        except lmdb.Error as error:  # of a full disk it says that there was an error of input or output
            raise VapsrError(f'{out} cannot be written: {error}: is the disk full?') from None
        except OSError as error:
            raise VapsrError(f'{out} cannot be written: {error}') from None
        finally:  # it is of the LMDB's size, and hidden; it may be what was at the LMDB's place before
            _remove(temporary)
    raise_faults(faults, len(sources))
    print(f'{out}: {counted(len(sources), "image")}')
