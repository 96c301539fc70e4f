"""Sub-images: the field's sliding crops, which are quicker to read than whole photographs."""

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from vapsr_arch.data.batch import claimed, counted, finish, inputs_of, is_done, refuse_inputs, run_batch, sources_of
from vapsr_arch.data.image_files import read_header
from vapsr_arch.data.image_writing import write_png
from vapsr_arch.data.images import read_as_it_is
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import LONGEST_NAME

# DIV2K names the LR image of 0001 0001x4; sub-images of both are to have the same name.
_SCALE_SUFFIX = re.compile(r'(?<=\d)x[2348]$')


def positions(length: int, size: int, step: int) -> list[int]:
    """Where sub-images begin along one side; the last one ends with the image (BasicSR's thresh_size of 0).

    Raises:
        ValueError: The image is smaller than a sub-image.
    """
    if length < size:
        raise ValueError(f'{length} pixels are less than {size}')
    starts = list(range(0, length - size + 1, step))
    return starts if starts[-1] + size == length else [*starts, length - size]


def _cut(source: Path, out: Path, size: int, step: int, since: int) -> int:
    """Writes the sub-images of an image that are missing; returns how many it has."""
    header = read_header(source)
    if min(header.height, header.width) < size:
        raise VapsrError(f'{source} is {header.height}x{header.width}, smaller than a sub-image of {size}x{size}: lower '
                         f'--size or leave it out')
    corners = [(top, left) for top in positions(header.height, size, step) for left in positions(header.width, size, step)]
    name = _SCALE_SUFFIX.sub('', source.stem)
    outputs = {out / f'{name}_s{number:03d}.png': corner for number, corner in enumerate(corners, 1)}
    if max(len(os.fsencode(path.name)) for path in outputs) > LONGEST_NAME:
        raise VapsrError(f'{source}: the names of its sub-images would be longer than {LONGEST_NAME} bytes: rename it')
    missing = {path: corner for path, corner in outputs.items() if not is_done(path, source, since)}
    if missing:
        image = read_as_it_is(source)
        for path, (top, left) in missing.items():
            write_png(path, image[top:top + size, left:left + size])
    return len(outputs)


def make_subimages(folders: Sequence[Path], out: Path, size: int = 480, step: int = 240, workers: int | None = None,
                   force: bool = False) -> None:
    """Cuts images into `out/NAME_s001.png` and so on: rows of size x size pixels, a step apart.

    For HR and LR sub-images to fit, HR images must be multiples of the scale: `make_lr(cut_hr=True)` cuts them.

    Args:
        folders: The images.
        out: The output folder; finished sub-images in it are kept.
        size: Pixels, of either side of a sub-image.
        step: Pixels between the beginnings of neighbours.
        workers: Processes; None for one a core.
        force: Write into a folder that holds something else.

    Raises:
        VapsrError: The folders cannot be used, two images would give sub-images of one name, or some images failed: they
            are named, the others are done.
    """
    if size < 1 or step < 1:
        raise VapsrError(f'--size {size} --step {step}: both are 1 or more')
    sources = sources_of(folders)
    names: dict[str, Path] = {}
    for source in sources:
        other = names.setdefault(_SCALE_SUFFIX.sub('', source.stem), source)
        if other != source:
            raise VapsrError(f'{other} and {source} would give sub-images of the same names: leave one of them out')
    refuse_inputs(folders, [out])
    recipe = {'made_by': 'vapsr data subimages', 'from': inputs_of(folders, out), 'size': size, 'step': step}
    with claimed(out, recipe, force) as since:
        work = functools.partial(_cut, out=out, size=size, step=step, since=since)
        counts = finish(run_batch(work, sources, 'sub-images', workers))
    print(f'{out}: {counted(sum(counts), "sub-image")} of {counted(len(sources), "image")}')
