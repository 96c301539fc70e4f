"""Work on many images: in parallel, with a progress bar, safe to stop and run again, a bad image named and skipped."""

import functools
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

from vapsr_arch.data.folders import real, skipped_files, skipped_folders, split_images
from vapsr_arch.data.libvips import pyvips
from vapsr_arch.data.recipes import RECIPE
from vapsr_arch.errors import VapsrError, raise_faults
from vapsr_arch.files import leftovers, locked, written_whole

Job = TypeVar('Job')
Result = TypeVar('Result')


def sources_of(folders: Sequence[Path]) -> list[Path]:
    """The images of some folders, in the order of their names without suffix, which the outputs are named by.

    Raises:
        VapsrError: A folder is missing or has no image, or two images differ only in folder or suffix.
    """
    by_stem: dict[str, Path] = {}
    for folder in folders:
        images, others = split_images(folder)
        for line in (others and skipped_files(folder, others), skipped_folders(folder)):
            if line:
                print(line, file=sys.stderr)
        for path in images:
            if path.stem in by_stem:
                raise VapsrError(f'{by_stem[path.stem]} and {path} differ only in their folder or suffix: rename one '
                                 f'of them')
            by_stem[path.stem] = path
    return [by_stem[stem] for stem in sorted(by_stem)]


def is_done(output: Path, source: Path, since: int) -> bool:
    """Whether an output is there, no older than what it is made from, and of the recipe that `claimed` dates."""
    return output.is_file() and output.stat().st_mtime_ns >= max(source.stat().st_mtime_ns, since)


def inputs_of(folders: Sequence[Path], base: Path) -> list[str]:
    """Where the input folders are as seen from an output's folder, for its recipe."""
    return sorted(os.path.relpath(real(folder), real(base)) for folder in folders)


def refuse_inputs(folders: Sequence[Path], outputs: Iterable[Path]) -> None:
    """Raises an error if an output would be written over its own input."""
    inputs = {real(folder) for folder in folders}
    for output in outputs:
        if real(output) in inputs:
            raise VapsrError(f'{output} is the folder of the images themselves: choose another output')


@contextmanager
def claimed(folder: Path, recipe: dict[str, Any], force: bool) -> Iterator[int]:
    """Holds an output folder for one run, and removes what a killed run left partly written.

    Args:
        folder: It is made if needed.
        recipe: What makes the outputs, `made_by`, and its settings; kept in the folder from the beginning.
        force: Take over a folder that holds something else.

    Yields:
        Since when the folder has been of this recipe, in nanoseconds: outputs that are no older may be kept.

    Raises:
        VapsrError: The folder holds something else, or another run is writing to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        note, text = folder / RECIPE, json.dumps(recipe, indent=1) + '\n'
        same = note.is_file() and note.read_bytes() == text.encode()
        killed = leftovers(folder)
        empty = killed.issuperset(folder.iterdir())
        if not (same or empty or force):
            raise VapsrError(f'{folder} holds something other than what {recipe["made_by"]} makes with these arguments: choose '
                             f'another folder, or write into it with --force')
        for path in killed:
            path.unlink()
        if not same:
            with written_whole(note) as temporary:
                temporary.write_text(text, encoding='utf-8')
        try:
            yield note.stat().st_mtime_ns
        finally:
            if (leftovers(folder) | {note}).issuperset(folder.iterdir()):  # nothing was made: the folder is as good as new
                note.unlink(missing_ok=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    pyvips.concurrency_set(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _guarded(work: Callable[[Job], Result], job: Job) -> Result | VapsrError:
    try:
        return work(job)
    except VapsrError as error:
        return error
    except OSError as error:
        return VapsrError(f'{error.filename or job}: {error.strerror or error}')
    except (cv2.error, MemoryError, ValueError) as error:
        return VapsrError(f'{job}: {error or "out of memory"}')


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Makes processes started within the context compute with one thread each."""
    names = 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, '1'))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    with (_one_thread_each(),
          ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _start_worker) as pool):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # Ctrl-C is the parent's to handle: workers inherit this
        try:
            for _ in range(workers):  # starts them
                pool.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        yield pool


def _in_order(pool: Executor, work: Callable[[Job], Result], jobs: Iterable[Job], ahead: int) -> Iterator[tuple[Job, Result]]:
    """Results in the order of the jobs, of which some are begun ahead."""
    flight: deque = deque()
    try:
        for job in jobs:
            flight.append((job, pool.submit(work, job)))
            if len(flight) >= ahead:
                job, future = flight.popleft()
                yield job, future.result()
        while flight:
            job, future = flight.popleft()
            yield job, future.result()
    except BrokenProcessPool:
        raise VapsrError(f'{job}: a worker process was killed, perhaps because memory ran out: run again with fewer --workers; '
                         f'what is finished is kept') from None
    finally:
        for _, future in flight:
            future.cancel()


def run_batch(work: Callable[[Job], Result], jobs: Sequence[Job], title: str,
              workers: int | None = None, threads: bool = False) -> Iterator[tuple[Job, Result | VapsrError]]:
    """Does a function's work for each of many jobs, with a progress bar.

    Args:
        work: A function of a module, or a `functools.partial` of one.
        jobs: Its arguments.
        title: What the progress bar says.
        workers: Processes; None for as many as there are cores, 1 to work in this one.
        threads: Threads instead, for work that OpenCV does: large results need not be copied from process to process.

    Yields:
        Each job, in order, with its result, or with the error if it failed for a reason that concerns it alone.

    Raises:
        VapsrError: A worker process was killed.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    guarded = functools.partial(_guarded, work)
    with ExitStack() as stack:
        if workers > 1:
            pool = stack.enter_context(ThreadPoolExecutor(workers) if threads else _processes(workers))
            results = _in_order(pool, guarded, jobs, 4 * workers)
        else:
            results = ((job, guarded(job)) for job in jobs)
        yield from tqdm(results, title, len(jobs), unit='image', file=sys.stderr)


def counted(count: int, what: str) -> str:
    """A number of things: `1 image`, `1,234 images`."""
    return f'{count:,} {what}{"s" * (count != 1)}'


def finish(results: Iterable[tuple[Job, Any]]) -> list[Any]:
    """Waits for all results.

    Raises:
        VapsrError: Some jobs failed; all of them are named.
    """
    results = [result for _, result in results]
    raise_faults([result for result in results if isinstance(result, VapsrError)], len(results))
    return results
