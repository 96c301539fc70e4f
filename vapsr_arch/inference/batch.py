"""Many files upscaled: progress, and files that fail."""

import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from vapsr_arch.data.image_canvas import is_kept_on_disk, pixels_on_disk
from vapsr_arch.data.image_files import Header, ImageData, read_header, read_image
from vapsr_arch.data.image_formats import STREAMED, is_lossy
from vapsr_arch.data.image_writing import PNG_LEVEL, check_fits, write_image
from vapsr_arch.errors import VapsrError, raise_faults
from vapsr_arch.inference.crew import Crew
from vapsr_arch.inference.jobs import Job
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.memory import available_memory, check_memory, give_back_freed_memory
from vapsr_arch.weights.names import default_weights

_Result = TypeVar('_Result')
_SHARE = 1 / 4  # of the free memory, for the images being worked on at a time; tiles take up to half
_BAR = '{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MP [{elapsed}<{remaining}, {rate_fmt}]'


class _Plan(NamedTuple):
    """A job, and how large its image is.

    Attributes:
        job: What to do.
        upscaler: What does it.
        megapixels: Of the input; 0 where its header cannot be read.
        size: Bytes of the pixels that are read and made.
        at_a_time: How many such images are upscaled at a time.
    """

    job: Job
    upscaler: Upscaler
    megapixels: float
    size: int
    at_a_time: int


class _Progress:
    """A bar on stderr, in megapixels of the input. Threads may share it.

    Args:
        plans: All that is to be done.
    """

    def __init__(self, plans: Sequence[_Plan]) -> None:
        self._bar = tqdm(total=sum(plan.megapixels for plan in plans), unit='MP', file=sys.stderr, bar_format=_BAR)
        self._count, self._begun = len(plans), 0
        self._lock = threading.Lock()

    def __enter__(self) -> '_Progress':
        return self

    def __exit__(self, *_: object) -> None:
        if math.isclose(self._bar.n, self._bar.total):  # the sum of the parts, in another order
            self._bar.n = self._bar.total
        self._bar.close()

    def begin(self, plan: _Plan) -> Callable[[float], None]:
        """Shows an image's name; returns what is to be called with the share of it that is done, 0 to 1."""
        self._begun += 1
        self._bar.set_description_str(f'{self._begun}/{self._count} {plan.job.source.name}')
        shown = 0.

        def show(share: float) -> None:
            nonlocal shown
            with self._lock:
                more = (share - shown) * plan.megapixels
                self._bar.update(min(more, self._bar.total - self._bar.n))  # rounding makes sums too large: tqdm would warn
                shown = share
        return show


def upscale_files(jobs: Sequence[tuple[Job, Upscaler]], png_level: int = PNG_LEVEL) -> None:
    """Upscales files, with a progress bar in megapixels of the input on stderr.

    While an image is upscaled, a thread reads the next one and another writes the one before, as far as the memory suffices.
    Small images are upscaled and written side by side, each with its share of torch's threads, which takes less time than
    one after another with all of them. An exception that ends this, such as KeyboardInterrupt, does so when the files that
    are being read and written are done.

    Args:
        jobs: What to do, and what does it; existing outputs are overwritten. What an Upscaler logs is best given to
            `say`.
        png_level: How much PNG files are compressed, 0 to 9.

    Raises:
        VapsrError: A folder of outputs cannot be written to; or some files failed: all of them are named, and the others are
            done.
    """
    _make_folders({job.output.parent for job, _ in jobs})  # before the time is spent
    crew = Crew()
    plans = [_planned(job, upscaler, len(jobs), crew) for job, upscaler in jobs]
    faults: dict[Job, VapsrError] = {}
    ahead: Future | None = None
    pending: dict[Future, _Plan] = {}  # being written, or, with others beside them, upscaled and written

    def finish(most: int) -> None:
        """Waits until no more than some files are pending."""
        while len(pending) > most:
            for done in wait(pending, return_when=FIRST_COMPLETED).done:
                _kept(pending.pop(done).job, done.result, faults)

    with _Progress(plans) as progress, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, crew:
        for plan, following in zip_longest(plans, plans[1:]):
            show = progress.begin(plan)
            reading = ahead or reader.submit(_read, plan)
            wait([reading])
            in_memory = sum(other.size for other in (plan, *pending.values()))
            has_room = following is not None and in_memory + following.size <= available_memory() * _SHARE
            ahead = reader.submit(_read, following) if has_room else None
            if plan.at_a_time > 1 and (has_room or pending):
                finish(plan.at_a_time - 1)
                pending[crew.submit(plan.at_a_time, _upscaled_and_written, plan, reading, show, png_level)] = plan
            else:
                finish(1)  # the one before may still be written, but not many be upscaled
                if write := _kept(plan.job, partial(_upscaled, plan, reading, show, png_level), faults):
                    pending[writer.submit(write)] = plan
                show(1)
            del reading  # its image takes memory, and is not needed for writing
            if not has_room:
                finish(0)
    raise_faults([faults[job] for job, _ in jobs if job in faults], len(jobs))


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


def read_to_upscale(source: Path, kind: str, scale: int) -> tuple[ImageData, bool]:
    """Reads an image whose result the memory can hold, or the disk.

    Args:
        source: The image's file.
        kind: The format of the result, of `FORMATS`.
        scale: How many times as high and as wide the result is.

    Returns:
        The image, and whether its result is kept on the disk: see `data.image_canvas`.

    Raises:
        VapsrError: It cannot be read, or memory does not suffice.
    """
    header = read_header(source)
    size = _bytes_a_pixel(header)
    on_disk = is_kept_on_disk(kind, header.height * header.width * size * scale ** 2)
    if not on_disk:
        check_memory(header.height, header.width, size * (1 + scale ** 2), source,
                     '' if kind in STREAMED else f': take --format {" or ".join(sorted(STREAMED))}, which need less')
    return read_image(source), on_disk


def say(message: str) -> None:
    """Prints a line to stderr, above a progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def _make_folders(folders: set[Path]) -> None:
    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as error:
            raise VapsrError(f'the folder {folder} cannot be made ({error.strerror}): choose another output') from None
        if not writable:
            raise VapsrError(f'the folder {folder} cannot be written to: choose another output')


def _read(plan: _Plan) -> tuple[ImageData, bool]:
    return read_to_upscale(plan.job.source, plan.job.kind, plan.upscaler.scale)


def _planned(job: Job, upscaler: Upscaler, most: int, crew: Crew) -> _Plan:
    try:
        header = read_header(job.source)
    except VapsrError:
        return _Plan(job, upscaler, 0., 0, 1)  # it is named when its turn comes
    pixels = header.height * header.width
    return _Plan(job, upscaler, pixels / 1e6, pixels * _bytes_a_pixel(header) * (1 + upscaler.scale ** 2),
                 crew.at_a_time(min(most, upscaler.at_a_time(header.height, header.width))))


def _bytes_a_pixel(header: Header) -> int:
    return (4 if header.has_alpha else 3) * (2 if header.is_16bit else 1)


def _kept(job: Job, work: Callable[[], _Result], faults: dict[Job, VapsrError]) -> _Result | None:
    """The result of some work on a job; None if it fails, with its error recorded."""
    try:
        return work()
    except VapsrError as error:
        faults[job] = error
    except OSError as error:
        faults[job] = VapsrError(f'{error.filename or job.output}: {error.strerror or error}')
    except MemoryError:
        faults[job] = VapsrError(f'{job.source}: there is not enough memory')
    except Exception as error:  # one image's failure must not stop the others
        faults[job] = VapsrError(f'{job.source}: {type(error).__name__}: {error}; please report it')
    return None


def _upscaled(plan: _Plan, reading: Future, progress: Callable[[float], None], png_level: int) -> Callable[[], None]:
    """Upscales what was read; returns what writes the result."""
    job, scale = plan.job, plan.upscaler.scale
    image, on_disk = reading.result()
    for note in image.notes:
        say(f'{job.source}: {note}')

    def after_tile(share: float) -> None:
        progress(share)
        if on_disk:  # what is freed of one tile and kept would stand beside the next one's memory
            give_back_freed_memory()

    height, width, channels = image.pixels.shape
    shape = height * scale, width * scale, channels
    with ExitStack() as held, _named(job):
        check_fits(job.kind, *shape[:2], image)  # before the time is spent
        canvas = held.enter_context(pixels_on_disk(job.output.parent, shape, image.pixels.dtype)) if on_disk else None
        result = image._replace(pixels=plan.upscaler(image.pixels, after_tile, canvas))
        held = held.pop_all()  # until it is written

    def write() -> None:
        with held, _named(job):
            write_image(job.output, job.kind, result, png_level)
    return write


def _upscaled_and_written(plan: _Plan, reading: Future, progress: Callable[[float], None], png_level: int) -> None:
    try:
        _upscaled(plan, reading, progress, png_level)()
    finally:
        progress(1)


@contextmanager
def _named(job: Job) -> Iterator[None]:
    """Puts the source's name before errors about it."""
    try:
        yield
    except VapsrError as error:
        raise VapsrError(f'{job.source}: {error}') from None
