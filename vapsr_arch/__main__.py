"""`python -m vapsr_arch` is `vapsr`."""

import signal


def run() -> None:
    """The `vapsr` command.

    Until it begins there is nothing to clean up: Ctrl-C ends the process, without a traceback out of an import.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background jobs ignore it
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vapsr_arch.cli import main
    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


if __name__ == '__main__':
    run()
