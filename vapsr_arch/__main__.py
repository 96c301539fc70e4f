"""`python -m vapsr_arch` is `vapsr`."""

import atexit
import gc
import os
import signal
from collections.abc import Sequence

# How often a thread of libgomp, which torch has on Linux, looks for its next work before it sleeps. By default 30 times as often:
# while other programs compute, the threads then wait for each other's turns. A training step on two cores with a load of 4 took
# 9 s, and takes 0.9 s so; on idle cores it takes some 2% longer.
_SPINS = '10000'


def run(arguments: Sequence[str] | None = None) -> None:
    """The `vapsr` command.

    Until it begins there is nothing to clean up: Ctrl-C ends the process, without a traceback out of an import.

    Args:
        arguments: As for `vapsr_arch.cli.main`.
    """
    atexit.register(gc.freeze)  # half a second: the interpreter's last search for garbage would go through all of torch
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', _SPINS)  # before torch is imported
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background jobs ignore it
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vapsr_arch.cli import main
    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(arguments)


if __name__ == '__main__':
    run()
