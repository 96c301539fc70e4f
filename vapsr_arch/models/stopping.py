"""SIGTERM and Ctrl-C: noted, for training to finish its iteration and save before it ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_REPEATED = 2  # seconds in which a second signal under torchrun is the first one, passed on


@contextmanager
def _taken(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has a function take the signals; afterwards they do again what they did. In a thread, which gets none, does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Has signals end the process without a word: for imports, which turn exceptions of handlers into errors of their own."""
    with _taken(lambda number, frame: os._exit(128 + number)):
        yield


class StopSignals:
    """What the process was asked by signals.

    One that comes before `armed`, as all do where the model is not of this package, ends the process by SystemExit; the second
    one that comes later ends it at once.

    Attributes:
        asked: The signal that asks for an end, or None.
        armed: Whether there is a training iteration to finish and a state to save.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.armed = False
        self._since = 0.0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Takes the signals; afterwards they do again what they did. In a thread, which gets none, does nothing."""
        self.asked, self.armed = None, False
        try:
            with _taken(self._take):
                yield
        finally:
            self.asked, self.armed = None, False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.armed:
            raise SystemExit(128 + number)
        if self.asked is None:
            self.asked, self._since = signal.Signals(number), time.monotonic()
        # On Ctrl-C the terminal and torchrun both send the signal.
        elif 'TORCHELASTIC_RUN_ID' not in os.environ or time.monotonic() - self._since > _REPEATED:
            os._exit(128 + number)


stop_signals = StopSignals()


def shield_worker(worker_id: int) -> None:
    """A DataLoader's `worker_init_fn`: signals to the whole process group are the training process's to handle.

    It needs its workers to finish the iteration. The SIGTERM by which it ends them itself is recognised by its sender.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_by_parent, daemon=True).start()


def _end_by_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
