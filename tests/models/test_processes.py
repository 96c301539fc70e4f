"""Training that is killed, stopped, or has no room to write, for real: in processes of its own."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models import training_process
from tests.models.training_helpers import RUN, network, states

LOG = Path('log.txt')


def finished(*arguments: str) -> str:
    """Trains to the end; returns what was printed."""
    process = training_process.start(*arguments, log=LOG)
    process.join()
    assert process.exitcode == 0, LOG.read_text()
    return LOG.read_text()


def test_killed_twenty_times_ends_with_the_same_bytes(train_options: Callable[..., str]) -> None:
    """At random moments, many of them within the saving of every iteration."""
    arguments = '-opt', train_options(
        train={'total_iter': 20}, val={'val_freq': 5}, logger={'save_checkpoint_freq': 1, 'keep_last': 2},
        datasets={'train': {'dataset_enlarge_ratio': 5}})
    finished(*arguments)
    undisturbed = network(), network('best_psnr')
    begin = time.monotonic()
    finished(*arguments)  # the same twice; the first run waited for imports
    duration = time.monotonic() - begin
    assert (network(), network('best_psnr')) == undisturbed
    shutil.rmtree(RUN)
    moments, kills = random.Random(0), 0
    while kills < 20:
        process = training_process.start(*arguments, '--auto_resume', log=LOG)
        process.join(moments.uniform(0.1, 0.8) * duration)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:  # begin anew
            assert process.exitcode == 0, LOG.read_text()
            assert (network(), network('best_psnr')) == undisturbed
            shutil.rmtree(RUN)
    finished(*arguments, '--auto_resume')
    assert (network(), network('best_psnr')) == undisturbed
    assert states() == ['19.state', '20.state'] and not list(RUN.rglob('.*'))
