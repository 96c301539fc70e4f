"""What is seen of training: the log's lines, TensorBoard's curves, the bar on a terminal."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable

import pytest
import torch
from basicsr.utils import get_root_logger

from tests.conftest import Finished
from tests.models.training_helpers import at_iterations
from vapsr_arch.models.progress import progress_bar


def test_a_line_a_print_interval(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, [3], lambda losses: {name: loss * torch.nan for name, loss in losses.items()})
    result = vapsr('train', '-opt', train_options(logger={'print_freq': 2}, train={'total_iter': 5}))
    lines = [line.partition('INFO: ')[2] for line in result.err.splitlines() if 'l_pix' in line]
    number = r'[\d.e+-]+'
    assert re.fullmatch(rf'iter 2/5, l_pix {number}, grad_norm {number}, lr 1.000e-03, {number} it/s, {number} samples/s, '
                        rf'data \d+%, \d+\.\d GB, ETA 0:\d\d:\d\d', lines[0])
    assert lines[1].startswith('iter 4/5, ') and lines[1].endswith(', skipped_steps 1')
    assert len(lines) == 2


def test_tensorboard_has_losses_gradients_and_skipped_steps(train_options: Callable[..., str],
                                                            vapsr: Callable[..., Finished],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.tensorboard import SummaryWriter
    points = []
    monkeypatch.setattr(SummaryWriter, 'add_scalar', lambda self, *point: points.append(point))
    vapsr('train', '-opt', train_options(logger={'print_freq': 3, 'use_tb_logger': True}))
    assert [(name, iteration) for name, _, iteration in points] == [
        ('losses/l_pix', 3), ('grad_norm', 3), ('skipped_steps', 3), ('lr', 3), ('it_per_s', 3),
        ('metrics/photos/psnr', 3)]


def test_tensorboard_on_a_full_disk_ends_training(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*point: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(SummaryWriter, 'add_scalar', full)
    result = vapsr('train', '-opt', train_options(logger={'use_tb_logger': True}))
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        'Error: No space left on device; what was saved before is whole: make room and resume with --auto_resume')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    logger = get_root_logger(log_level='INFO')
    bar = progress_bar(3, 10, True)
    bar.update()
    logger.warning('a line of the log')
    bar.close()
    assert '4/10' in terminal.getvalue() and 'a line of the log\n' in terminal.getvalue()
    assert progress_bar(0, 10, False).disable
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    assert progress_bar(0, 10, True).disable
