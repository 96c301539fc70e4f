"""Training in processes of their own that start at once: a server that has imported everything forks them."""

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from vapsr_arch import plugin

plugin.load()
import basicsr.train  # noqa: E402, F401


def start(*arguments: str, log: Path, file_limit: int = resource.RLIM_INFINITY) -> BaseProcess:
    """Starts `vapsr train ARGUMENTS` in the current folder.

    Args:
        arguments: The arguments.
        log: Takes what it prints.
        file_limit: The largest file that it can write, in bytes.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_train, args=(arguments, Path.cwd(), log, file_limit))
    process.start()
    return process


def _train(arguments: tuple[str, ...], folder: Path, log: Path, file_limit: int) -> None:
    os.chdir(folder)
    with log.open('wb') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    from vapsr_arch.cli import main
    main(['train', *arguments])


def wait_for_line(process: BaseProcess, log: Path, words: str) -> None:
    """Waits until a process has printed some words."""
    while process.is_alive() and words not in log.read_text():
        process.join(0.02)
    assert words in log.read_text(), log.read_text()


def stopped_by(process: BaseProcess, *numbers: signal.Signals) -> int:
    """Sends signals, and returns the exit code."""
    for number in numbers:
        os.kill(process.pid, number)
    process.join()
    return process.exitcode


Starter = Callable[..., BaseProcess]
