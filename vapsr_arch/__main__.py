"""`python -m vapsr_arch` is `vapsr`."""

import signal
from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> None:
    """The `vapsr` command.

    Until it begins there is nothing to clean up: Ctrl-C ends the process, without a traceback out of an import.

    Args:
        arguments: As for `vapsr_arch.cli.main`.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background jobs ignore it
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vapsr_arch.cli import main
    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(arguments)


if __name__ == '__main__':
    run()
