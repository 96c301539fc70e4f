"""Processes of their own that start at once: a server that has imported torch, BasicSR and this package forks them.

What a process imports is not seen in them. Tests of that start an interpreter.
"""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, BinaryIO

from vapsr_arch.pipeline.registration import register

register()
import vapsr_arch.cli  # noqa: E402
import vapsr_arch.pipeline.patches  # noqa: E402
import vapsr_arch.pipeline.running  # noqa: E402, F401


def start_forked(function: Callable[..., None], *arguments: Any, out: BinaryIO, err: BinaryIO) -> BaseProcess:
    """Starts a function of a module in the current folder; what it prints goes to two files, which may be the same."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_call, args=(function, arguments, Path.cwd(), out.name, err.name))
    process.start()
    return process


def _call(function: Callable[..., None], arguments: tuple[Any, ...], folder: Path, *outputs: str) -> None:
    multiprocessing.set_start_method('fork', force=True)  # for the workers, as in a process of its own
    os.chdir(folder)
    for descriptor, output in enumerate(outputs, 1):
        with open(output, 'ab') as file:
            os.dup2(file.fileno(), descriptor)
    function(*arguments)


def run_forked(code: str, arguments: Sequence[str | Path] = (), folder: str | Path | None = None, given: bytes | None = None
               ) -> subprocess.CompletedProcess:
    """Runs Python code as `vapsr_arch.report.children.run_child` does."""
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        path = [os.path.abspath(entry) for entry in sys.path]
        process = start_forked(_execute, code, [str(argument) for argument in arguments], Path(folder or '.').absolute(),
                               given or b'', path, out=out, err=err)
        process.join()
        return subprocess.CompletedProcess(code, process.exitcode, Path(out.name).read_bytes(), Path(err.name).read_bytes())


def _execute(code: str, arguments: list[str], folder: Path, given: bytes, path: list[str]) -> None:
    os.chdir(folder)
    sys.path[:], sys.argv[:], sys.stdin = path, ['-c', *arguments], io.TextIOWrapper(io.BytesIO(given))
    exec(code, {'__name__': '__main__'})
