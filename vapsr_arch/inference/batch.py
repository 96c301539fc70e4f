"""Many files upscaled: progress, and files that fail."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from vapsr_arch.data.image_canvas import is_kept_on_disk, pixels_on_disk
from vapsr_arch.data.image_files import read_header, read_image
from vapsr_arch.data.image_formats import STREAMED, is_lossy
from vapsr_arch.data.image_writing import check_fits, write_image
from vapsr_arch.errors import VapsrError, raise_faults
from vapsr_arch.inference.jobs import Job
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.memory import check_memory
from vapsr_arch.weights.names import default_weights

_BAR = '{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MP [{elapsed}<{remaining}, {rate_fmt}]'


def upscale_files(jobs: Sequence[tuple[Job, Upscaler]]) -> None:
    """Upscales files, with a progress bar in megapixels of the input on stderr.

    Args:
        jobs: What to do, and what does it; outputs that are there are overwritten. What an Upscaler logs is best given to
            `say`.

    Raises:
        VapsrError: Some files failed; all of them are named, and the others are done.
    """
    megapixels = [_megapixels(job) for job, _ in jobs]
    faults, done = [], 0.
    with tqdm(total=sum(megapixels), unit='MP', file=sys.stderr, bar_format=_BAR) as bar:
        for number, ((job, upscaler), size) in enumerate(zip(jobs, megapixels), start=1):
            bar.set_description_str(f'{number}/{len(jobs)} {job.source.name}')

            def show(share: float, start: float = done, size: float = size) -> None:
                bar.update(start + share * size - bar.n)

            try:
                _upscale_file(job, upscaler, show)
            except VapsrError as error:
                faults.append(error)
            except OSError as error:
                faults.append(VapsrError(f'{error.filename or job.output}: {error.strerror or error}'))
            except MemoryError:
                faults.append(VapsrError(f'{job.source}: there is not enough memory'))
            except Exception as error:  # no image is worth the others'
                faults.append(VapsrError(f'{job.source}: {type(error).__name__}: {error}; please report it'))
            done += size
            show(1)
    raise_faults(faults, len(jobs))


def suited_weights(jobs: Sequence[Job], scale: int | None = None) -> dict[Job, Path]:
    """The shipped weights that suit each image, named in a line on stderr.

    JPEG and lossy WebP get those for photographs where there are such for the scale, all others those for clean images.

    Args:
        jobs: The images.
        scale: The scale; None for 4.

    Raises:
        VapsrError: There are none for this scale.
    """
    lossy = {job: is_lossy(job.source) for job in jobs}
    chosen = {job: default_weights(scale, photo=lossy[job]) for job in jobs}
    chosen_for = []
    for weights, count in Counter(chosen.values()).items():
        why = ' (JPEG, lossy WebP)' if weights.stem.endswith('_photo') else ''
        chosen_for.append(f'{weights.stem} for {count} image{"s" * (count > 1)}{why}')
    without = sum(lossy[job] and not weights.stem.endswith('_photo') for job, weights in chosen.items())
    note = f'; {without} of JPEG or lossy WebP, for which no photo weights are shipped' if without else ''
    say(f'weights: {", ".join(chosen_for)}{note}')
    return chosen


def say(message: str) -> None:
    """Prints a line to stderr, above a progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def _megapixels(job: Job) -> float:
    try:
        header = read_header(job.source)
    except VapsrError:
        return 0.  # it is named when its turn comes
    return header.height * header.width / 1e6


def _upscale_file(job: Job, upscaler: Upscaler, progress: Callable[[float], None]) -> None:
    header = read_header(job.source)
    channels, sample = 4 if header.has_alpha else 3, 2 if header.is_16bit else 1
    on_disk = is_kept_on_disk(job.kind, header.height * header.width * channels * sample * upscaler.scale ** 2)
    if not on_disk:
        check_memory(header.height, header.width, channels * sample * (1 + upscaler.scale ** 2), job.source,
                     '' if job.kind in STREAMED else f': take --format {" or ".join(sorted(STREAMED))}, which need less')
    image = read_image(job.source)
    for note in image.notes:
        say(f'{job.source}: {note}')
    height, width, channels = image.pixels.shape
    shape = height * upscaler.scale, width * upscaler.scale, channels
    try:
        check_fits(job.kind, *shape[:2], image)  # before the time is spent
        with pixels_on_disk(job.output.parent, shape, image.pixels.dtype) if on_disk else nullcontext() as canvas:
            upscaled = upscaler(image.pixels, progress, canvas)
            write_image(job.output, job.kind, image._replace(pixels=upscaled))
    except VapsrError as error:
        raise VapsrError(f'{job.source}: {error}') from None
