"""Training and tests in processes of their own that start at once: a server that has imported everything forks them."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from vapsr_arch.pipeline.registration import register

register()
import vapsr_arch.cli  # noqa: E402
import vapsr_arch.pipeline.patches  # noqa: E402
import vapsr_arch.pipeline.running  # noqa: E402, F401


def start(*arguments: str, log: Path, before: Callable[[], None] | None = None, command: str = 'train',
          **environment: str) -> BaseProcess:
    """Starts `vapsr COMMAND ARGUMENTS` in the current folder.

    Args:
        arguments: The arguments.
        log: Takes what it prints.
        before: A function of a module, called first.
        command: `train` or `test`.
        environment: Variables that are set for it.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    log.write_text('')
    process = context.Process(target=_run, args=((command, *arguments), Path.cwd(), log, before, environment))
    process.start()
    return process


def start_two(*arguments: str, before: Callable[[], None] | None = None, command: str = 'train'
              ) -> list[tuple[BaseProcess, Path]]:
    """Starts two processes that work together; returns them with their logs."""
    with socket.socket() as free:
        free.bind(('', 0))
        port = str(free.getsockname()[1])
    logs = [Path(f'{rank}.txt') for rank in range(2)]
    return [(start(*arguments, '--launcher', 'pytorch', log=log, before=before, command=command, RANK=str(rank),
                   LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port), log)
            for rank, log in enumerate(logs)]


def together(*arguments: str, before: Callable[[], None] | None = None, command: str = 'train') -> list[str]:
    """Runs two processes to their end, as `start_two` starts them; returns what each has printed."""
    processes = start_two(*arguments, before=before, command=command)
    for process, log in processes:
        process.join()
        assert process.exitcode == 0, log.read_text()
    return [log.read_text() for _, log in processes]


def _run(arguments: tuple[str, ...], folder: Path, log: Path, before: Callable[[], None] | None,
           environment: dict[str, str]) -> None:
    multiprocessing.set_start_method('fork', force=True)  # for the workers, as in a process of its own
    os.chdir(folder)
    os.environ.update(environment)
    with log.open('wb') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if before:
        before()
    from vapsr_arch.cli import main
    main(arguments)


def wait_for_line(process: BaseProcess, log: Path, words: str) -> None:
    """Waits until a process has printed some words."""
    while process.is_alive() and words not in log.read_text():
        process.join(0.02)
    assert words in log.read_text(), log.read_text()


def children(process: BaseProcess) -> list[int]:
    """The processes that a process has started."""
    return [int(number) for number in Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()]


def pause(process: BaseProcess) -> None:
    """Stops a process until SIGCONT."""
    os.kill(process.pid, signal.SIGSTOP)
    while Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()[0] != 'T':
        process.join(0.02)
