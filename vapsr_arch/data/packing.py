"""Makes packs from folders of images, HR alone or HR with the LR images made from them."""

import functools
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vapsr_arch.data.batch import counted, inputs_of, run_batch, sources_of
from vapsr_arch.data.image_files import Header, read_header
from vapsr_arch.data.images import conversion_notes, decode, read_bytes
from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.data.pack import Pack, PackWriter
from vapsr_arch.errors import VapsrError, raise_faults
from vapsr_arch.files import locked


class _Decoded(NamedTuple):
    images: list[np.ndarray]  # HR, and LR if asked for
    header: Header


def _decode(source: Path, scale: int | None, border: str) -> _Decoded:
    header = read_header(source)
    image = decode(read_bytes(source), source)
    if scale is None:
        return _Decoded([image], header)
    hr = mod_crop(image, scale)
    if 0 in hr.shape:
        raise VapsrError(f'{source} is smaller than {scale} pixels: leave it out')
    return _Decoded([hr, imresize(hr, 1 / scale, border)], header)


def lr_path(out: Path, scale: int) -> Path:
    """Where the LR images of a pack go: HR.pack has its own in HR_X4.pack."""
    return out.with_name(f'{out.stem}_X{scale}{out.suffix}')


def _is_finished(out: Path, recipe: dict, sources: Sequence[Path], force: bool) -> bool:
    """Whether `out` holds these images already; False if it may be written.

    Raises:
        VapsrError: It holds something else.
    """
    if not out.exists():
        return False
    if out.is_dir():
        raise VapsrError(f'{out} is a folder, and a pack is a file: choose another name')
    try:
        pack = Pack(out)
        names = set(pack.names()) if pack.recipe == recipe else set()
    except VapsrError:
        names = set()
    wanted = {source.stem for source in sources}
    if not force and (not names or names - wanted):
        raise VapsrError(f'{out} holds something other than these images: choose another name, or replace it with --force')
    made = out.stat().st_mtime_ns
    return names == wanted and all(source.stat().st_mtime_ns <= made for source in sources)


def make_pack(folders: Sequence[Path], out: Path, scale: int | None = None, border: str = 'symmetric',
              workers: int | None = None, force: bool = False) -> None:
    """Decodes a folder's images into a pack.

    It is written beside its place under a hidden name, and renamed when it is complete.

    Args:
        folders: The images, as training reads them: grey repeated, 16 bit reduced to 8, alpha left out.
        out: The pack; one that holds these images already is kept.
        scale: The images are HR and have no LR images: cut them to a multiple of this, and write the LR images, as
            MATLAB makes them, to `lr_path(out, scale)`.
        border: For `imresize`.
        workers: Threads; None for one a core.
        force: Replace a file that holds something else.

    Raises:
        VapsrError: The folders or the output cannot be used, or some images failed: they are named, the others are done.
    """
    if scale is not None and scale < 2:
        raise VapsrError(f'--scale {scale}: scales begin at 2')
    sources = sources_of(folders)
    recipe = {'made_by': 'vapsr data pack', 'from': inputs_of(folders, out.parent), 'scale': scale,
              'border': border if scale else None}
    outs = [out] if scale is None else [out, lr_path(out, scale)]
    recipes = [recipe | {'part': part} for part in ('HR', 'LR')[:len(outs)]] if scale else [recipe]
    finished = [_is_finished(path, made, sources, force) for path, made in zip(outs, recipes)]
    if all(finished):
        print(f'{" and ".join(map(str, outs))}: finished already, kept')
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    temporaries = [path.with_name(f'.{path.name}.tmp') for path in outs]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(open(stack.enter_context(locked(path)), 'r+b', closefd=False)) for path in temporaries]
            try:
                for file in files:
                    file.truncate(0)
                faults, headers = _fill([PackWriter(file, made) for file, made in zip(files, recipes)],
                                        functools.partial(_decode, scale=scale, border=border), sources, workers)
                if headers:
                    for path, temporary in zip(outs, temporaries):
                        os.replace(temporary, path)
            finally:  # they are of the pack's size, and hidden
                for temporary in temporaries:
                    temporary.unlink(missing_ok=True)
    except OSError as error:  # also where a file is closed, with what could not be written before
        raise VapsrError(f'{out} cannot be written: {error.strerror}') from None
    for note in conversion_notes(headers):
        print(f'{out}: {note}', file=sys.stderr)
    raise_faults(faults, len(sources))
    for path in outs:
        print(f'{path}: {counted(len(sources), "image")}, {path.stat().st_size / 1e6:,.1f} MB')


def _fill(writers: list[PackWriter], work: functools.partial, sources: Sequence[Path],
          workers: int | None) -> tuple[list[VapsrError], list[Header]]:
    """Writes all that decodes; the faults of the rest, and the headers of what was written."""
    faults, headers = [], []
    for source, result in run_batch(work, sources, 'pack', workers, threads=True):
        if isinstance(result, VapsrError):
            faults.append(result)
            continue
        headers.append(result.header)
        for writer, image in zip(writers, result.images):
            writer.add(source.stem, image)
    for writer in writers:
        writer.close()
    return faults, headers
