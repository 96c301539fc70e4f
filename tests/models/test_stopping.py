"""Signals before there is anything to save, and signals that come twice under torchrun."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests.conftest import REPOSITORY, Finished
from vapsr_arch.models.stopping import StopSignals


def test_before_the_first_iteration_it_stops_at_once(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('basicsr.data.build_dataset', lambda options: os.kill(os.getpid(), signal.SIGINT))
    assert vapsr('train', '-opt', train_options()).code == 128 + signal.SIGINT


IMPORTING = """
import os, signal
from vapsr_arch.models.stopping import ended_at_once
with ended_at_once():
    try:
        os.kill(os.getpid(), {number})
    except BaseException as error:
        raise ImportError('numpy cannot be imported') from error
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_while_modules_are_imported_it_ends_without_a_word(number: signal.Signals) -> None:
    """An import that takes every exception for its own would else end in its traceback."""
    result = subprocess.run([sys.executable, '-c', IMPORTING.format(number=int(number))], capture_output=True, text=True,
                            cwd=REPOSITORY)
    assert (result.returncode, result.stdout, result.stderr) == (128 + number, '', '')


def test_torchruns_repetition_is_no_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    signals = StopSignals()
    before = signal.getsignal(signal.SIGINT)
    with signals.noted():
        signals.armed = True
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.asked == signal.SIGINT
    assert signals.asked is None
    assert signal.getsignal(signal.SIGINT) == before


def test_a_thread_may_train_too() -> None:
    done = []

    def train() -> None:
        with StopSignals().noted():
            done.append(True)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert done
