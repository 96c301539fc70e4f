"""Which input becomes which output: inputs are named by file, folder or pattern."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vapsr_arch.data.folders import is_image, real, skipped_files, skipped_folders
from vapsr_arch.data.image_formats import FORMATS, OUTPUT_SUFFIXES, SUFFIXES
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.files import LONGEST_NAME


class Job(NamedTuple):
    """An image to upscale.

    Attributes:
        source: Its file.
        output: The file to write.
        kind: The format of that, of `FORMATS`.
    """

    source: Path
    output: Path
    kind: str


def plan_jobs(inputs: Sequence[str], out: Path, recursive: bool = False, suffix: str = '', kind: str | None = None) -> list[Job]:
    """Plans the work; writes nothing.

    Args:
        inputs: Files, folders, and patterns such as `photos/*.jpg`.
        out: A folder; or, for one file, the file to write, of one of `OUTPUT_SUFFIXES`.
        recursive: Take folders within folders too, and make the same ones in `out`.
        suffix: What the names of outputs end with, before the dot.
        kind: The outputs' format, of `FORMATS`; None for that of each one's name.

    Raises:
        OptionsError: `out` is a file while there are several inputs, or while `suffix` or `kind` is given.
        VapsrError: An input is not there, has no image or an unknown suffix; two inputs would have the same output; an
            output would overwrite an input.
    """
    found = (pair for given in inputs for pair in _found(given, out, recursive))
    sources = dict({os.path.abspath(source): (source, place) for source, place in found}.values())  # each once
    if '/' in suffix or '\0' in suffix or os.sep in suffix:
        raise OptionsError(f'--suffix {suffix!r} is added to names: it is no path')
    if len(sources) == 1 and Path(inputs[0]).is_file() and out.suffix and not out.is_dir():
        if out.suffix.lower() not in OUTPUT_SUFFIXES:
            raise OptionsError(f'-o {out}: {out.suffix} files are not written: take one of {", ".join(OUTPUT_SUFFIXES)}, or name '
                               f'a folder without a dot in its name or one that is there')
        if suffix or kind:
            raise OptionsError(f'-o {out} names the output: --suffix and --format are for a folder of outputs. Leave '
                               f'{"--format" if kind else "--suffix"} out' + (f', or name {out.with_suffix(FORMATS[kind])}'
                                                                              if kind else ''))
        jobs = [Job(next(iter(sources)), out, OUTPUT_SUFFIXES[out.suffix.lower()])]
    else:
        if out.is_file() or (out.suffix.lower() in OUTPUT_SUFFIXES and not out.is_dir()):
            raise OptionsError(f'-o {out}: {len(sources)} images need a folder')
        jobs = [_job(source, out / place, suffix, kind) for source, place in sources.items()]
    _check(jobs)
    return jobs


def shard_of(jobs: Sequence[Job], number: int, count: int) -> list[Job]:
    """The jobs of one of several processes, which do not communicate but get the same inputs.

    Args:
        jobs: All jobs, in any order, also those that are done.
        number: Which process, from 1 on.
        count: How many there are.
    """
    return sorted(jobs, key=lambda job: str(job.source))[number - 1::count]


def _found(given: str, out: Path, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """The images that an input stands for, each with its place in the output folder."""
    path = Path(given)
    if not given:
        raise OptionsError('an input is an empty text: name a file, a folder or a pattern')
    if path.is_dir():
        files = [file for file in sorted(path.rglob('*') if recursive else path.iterdir())
                 if not file.is_dir() and not any(part.startswith('.') for part in file.relative_to(path).parts)
                 # Else outputs within the input's folder would be upscaled again by the next run.
                 and (real(out) == real(path) or real(out) not in real(file).parents)]
        found = [file for file in files if is_image(file)]
        if len(found) < len(files):
            print(skipped_files(given, [file for file in files if not is_image(file)]), file=sys.stderr)
        if not found:
            raise VapsrError(f'{given}: the folder has no image ({", ".join(sorted(SUFFIXES))})'
                             + ('' if recursive else '; -r looks into folders within it, too'))
        folders = None if recursive else skipped_folders(given, but=out)
        if folders:
            print(f'{folders}; -r searches folders within folders, too', file=sys.stderr)
        yield from ((file, file.relative_to(path)) for file in found)
    elif path.is_file():
        yield path, Path(path.name)
    elif os.path.lexists(path):
        raise VapsrError(f'{given} is neither a file nor a folder: it is a link to nothing, a pipe or a device')
    else:
        matches = [Path(match) for match in sorted(glob.glob(given, recursive=recursive))]
        found = [match for match in matches if match.is_file()]
        if not found:
            raise VapsrError(f'{given}: there is no such file or folder, nor a file that matches it as a pattern')
        if len(found) < len(matches):
            print(skipped_files(given, [match for match in matches if not match.is_file()]), file=sys.stderr)
        yield from ((match, Path(match.name)) for match in found)


def _job(source: Path, output: Path, suffix: str, kind: str | None) -> Job:
    ending = FORMATS[kind] if kind else source.suffix
    if not kind and ending.lower() not in OUTPUT_SUFFIXES:
        what = ending or 'a name without suffix'
        raise VapsrError(f'{source}: {what} names no format that is written: if this is an image, give --format '
                         f'({", ".join(FORMATS)})')
    name = f'{output.stem}{suffix}{ending}'
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise VapsrError(f'{source}: its output\'s name would be longer than {LONGEST_NAME} bytes: rename it, or give a shorter '
                         f'--suffix')
    return Job(source, output.with_name(name), kind or OUTPUT_SUFFIXES[ending.lower()])


def _check(jobs: Sequence[Job]) -> None:
    sources = {real(job.source) for job in jobs}
    by_output: dict[Path, Path] = {}
    for job in jobs:
        output = real(job.output)
        if output in sources:
            raise VapsrError(f'{job.output} is an input and would be overwritten: choose another -o, or a --suffix')
        if output in by_output:
            raise VapsrError(f'{by_output[output]} and {job.source} would both become {job.output}: rename one of them, or '
                             f'upscale them into two folders')
        by_output[output] = job.source
