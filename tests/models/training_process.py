"""Training and tests in processes of their own that start at once: a server that has imported everything forks them."""

import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.forked import start_forked


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
    log.write_text('')
    with log.open('rb') as file:
        return start_forked(_run, (command, *arguments), before, environment, out=file, err=file)


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


def _run(arguments: tuple[str, ...], before: Callable[[], None] | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
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
