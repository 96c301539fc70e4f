"""Which files become which: inputs named by file, folder or pattern, and where their enlargements go."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.inference.formats import FORMATS, SUFFIXES


class Job(NamedTuple):
    """A picture to enlarge.

    Attributes:
        source: Its file.
        output: The file to write.
        kind: The format of that, of `FORMATS`.
    """

    source: Path
    output: Path
    kind: str


def plan_jobs(inputs: Sequence[str], out: Path, recursive: bool = False, suffix: str = '', kind: str | None = None) -> list[Job]:
    """Says what is to be done; does nothing.

    Args:
        inputs: Files, folders, and patterns such as `photos/*.jpg`.
        out: A folder; or, for one file, the file to write, of one of `SUFFIXES`.
        recursive: Take folders within folders too, and make the same ones in `out`.
        suffix: What the names of outputs end with, before the dot.
        kind: The outputs' format, of `FORMATS`; None for that of each one's name.

    Raises:
        OptionsError: `out` is a file while there are several inputs, or while `suffix` or `kind` is given.
        VapsrError: An input is not there, has no picture or an unknown suffix; two inputs would have the same output; an
            output would overwrite an input.
    """
    found = (pair for given in inputs for pair in _found(given, out, recursive))
    sources = dict({os.path.abspath(source): (source, place) for source, place in found}.values())  # each once
    if len(sources) == 1 and Path(inputs[0]).is_file() and out.suffix.lower() in SUFFIXES and not out.is_dir():
        if suffix or kind:
            raise OptionsError(f'-o {out} names the output: --suffix and --format are for a folder of outputs')
        jobs = [Job(next(iter(sources)), out, SUFFIXES[out.suffix.lower()])]
    else:
        if out.is_file() or (out.suffix.lower() in SUFFIXES and not out.is_dir()):
            raise OptionsError(f'-o {out}: {len(sources)} pictures need a folder')
        jobs = [_job(source, out / place, suffix, kind) for source, place in sources.items()]
    _check(jobs)
    return jobs


def _found(given: str, out: Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """The pictures that an input stands for, each with its place in the output folder."""
    path = Path(given)
    if path.is_dir():
        found = [file for file in sorted(path.rglob('*') if recursive else path.iterdir())
                 if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith('.')
                 # Else outputs within the input's folder would be enlarged again by the next run.
                 and (out.resolve() == path.resolve() or out.resolve() not in file.resolve().parents)]
        if not found:
            raise VapsrError(f'{given}: the folder has no picture ({", ".join(SUFFIXES)})'
                             + ('' if recursive else '; -r looks into folders within it, too'))
        yield from ((file, file.relative_to(path)) for file in found)
    elif path.is_file():
        yield path, Path(path.name)
    else:
        matches = sorted(glob.glob(given, recursive=recursive))
        if not matches:
            raise VapsrError(f'{given}: there is no such file, folder or pattern\'s match')
        for match in matches:
            if Path(match).is_file():
                yield Path(match), Path(Path(match).name)


def _job(source: Path, output: Path, suffix: str, kind: str | None) -> Job:
    ending = FORMATS[kind] if kind else source.suffix
    if not kind and ending.lower() not in SUFFIXES:
        raise VapsrError(f'{source}: its name tells no format to write: give --format ({", ".join(FORMATS)})')
    return Job(source, output.with_name(f'{output.stem}{suffix}{ending}'), kind or SUFFIXES[ending.lower()])


def _check(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    by_output: dict[Path, Path] = {}
    for job in jobs:
        output = job.output.resolve()
        if output in sources:
            raise VapsrError(f'{job.output} is an input and would be overwritten: choose another -o, or a --suffix')
        if output in by_output:
            raise VapsrError(f'{by_output[output]} and {job.source} would both become {job.output}: rename one of them, or '
                             f'enlarge them into two folders')
        by_output[output] = job.source
