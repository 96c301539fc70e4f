"""LR images from HR images, bit for bit as MATLAB's imresize makes them."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

from vapsr_arch.data.batch import claimed, counted, finish, inputs_of, is_done, refuse_inputs, run_batch, sources_of
from vapsr_arch.data.image_writing import write_png
from vapsr_arch.data.images import read_as_it_is
from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.errors import VapsrError


def _make(source: Path, outputs: dict[str, Path], since: int, border: str, multiple: int | None) -> None:
    """Writes the LR images of one HR image, and, where a multiple is given, the HR image cut to it."""
    outputs = {name: Path(folder, f'{source.stem}.png') for name, folder in outputs.items()}
    missing = {name: path for name, path in outputs.items() if not is_done(path, source, since)}
    if not missing:
        return
    image = read_as_it_is(source)
    if multiple:
        image = mod_crop(image, multiple)
    for name, path in missing.items():
        scale = 1 if name == 'HR' else int(name[1:])
        hr = mod_crop(image, scale)
        if 0 in hr.shape:
            raise VapsrError(f'{source} is smaller than {multiple or scale} pixels: leave it out')
        write_png(path, hr if name == 'HR' else imresize(hr, 1 / scale, border))


def make_lr(folders: Sequence[Path], out: Path, scales: Sequence[int], border: str = 'symmetric', cut_hr: bool = False,
            workers: int | None = None, force: bool = False) -> None:
    """Writes `out/X2/NAME.png` and so on: HR cut to a multiple of the scale, then made smaller.

    Args:
        folders: HR images: grey or colour, 8 or 16 bits; alpha is left out.
        out: The output folder; finished images in it are kept.
        scales: Of 2 and above.
        border: 'symmetric' as in today's MATLAB, or 'replicate' as before R2016b.
        cut_hr: Cut HR to a multiple of all scales instead, and write that to `out/HR`, for training on whole images.
        workers: Processes; None for one a core.
        force: Write into a folder that holds something else.

    Raises:
        VapsrError: The folders cannot be used, or some images failed: they are named, the others are done.
    """
    if min(scales) < 2:
        raise VapsrError(f'--scale {min(scales)}: scales begin at 2')
    sources = sources_of(folders)
    multiple = math.lcm(*scales) if cut_hr else None
    recipe = {'made_by': 'vapsr data lr', 'from': inputs_of(folders, out), 'border': border, 'hr_multiple': multiple}
    outputs = {f'X{scale}': out / f'X{scale}' for scale in sorted(set(scales))} | ({'HR': out / 'HR'} if cut_hr else {})
    refuse_inputs(folders, outputs.values())
    with claimed(out, recipe, force) as since:
        work = functools.partial(_make, outputs=outputs, since=since, border=border, multiple=multiple)
        finish(run_batch(work, sources, 'LR images', workers))
    print(f'{", ".join(map(str, outputs.values()))}: {counted(len(sources), "image")} each')
