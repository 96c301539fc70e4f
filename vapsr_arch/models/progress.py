"""What is seen of training: a line of the log for each print interval, and a progress bar on a terminal."""

import datetime
import logging
import sys
import time
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from tqdm import tqdm

try:
    import resource
except ModuleNotFoundError:  # Windows, which does not report how much memory a process had
    resource = None


class TrainingLog:
    """Takes the place of BasicSR's MessageLogger, whose line lacks the rates and the memory.

    Its time left counts all that the run has done since it started or resumed, validation and saving included; its rates
    count the iterations alone.

    Args:
        opt: BasicSR's options.
        start_iter: Iterations done before.
        tb_logger: TensorBoard's writer, or None.
    """

    def __init__(self, opt: dict[str, Any], start_iter: int = 0, tb_logger: Any = None) -> None:
        self.total_iter = opt['train']['total_iter']
        self.samples = opt['run'].epoch_plan.batch
        self.logged_at = opt['run'].logged_at
        self.on_gpu = opt['num_gpu'] > 0
        self.tb_logger = tb_logger
        self.start_iter, self.start_time = start_iter, time.monotonic()

    def reset_start_time(self) -> None:
        """Leaves the first iteration, which takes longer, out of the time left."""
        self.start_iter, self.start_time = self.start_iter + 1, time.monotonic()

    @master_only
    def __call__(self, log_vars: dict[str, Any]) -> None:
        """Writes a line, and a point to each of TensorBoard's curves.

        Args:
            log_vars: `epoch`, `iter`, `lrs`, `time` and `data_time` (seconds an iteration), and by any other names what
                `get_current_log` of the model returned.
        """
        values = dict(log_vars)
        iteration, lrs, seconds, data = (values.pop(key) for key in ('iter', 'lrs', 'time', 'data_time'))
        values.pop('epoch')
        if self.tb_logger:
            curves = values | {'lr': lrs[0], 'it_per_s': 1 / seconds}
            for name, value in curves.items():
                self.tb_logger.add_scalar(f'losses/{name}' if name.startswith('l_') else name, value, iteration)
        self.logged_at.append(time.monotonic())
        memory = self._memory()
        skipped = values.pop('skipped_steps', 0)  # of models that have a guard
        fields = [f'iter {iteration:,}/{self.total_iter:,}', *(f'{name} {value:.4e}' for name, value in values.items()),
                  'lr ' + ' '.join(f'{lr:.3e}' for lr in lrs), f'{1 / seconds:.3g} it/s',
                  f'{self.samples / seconds:.3g} samples/s', f'data {data / seconds:.0%}',
                  *([] if memory is None else [f'{memory / 1e9:.1f} GB']),
                  f'ETA {self._time_left(iteration)}']
        get_root_logger().info(', '.join(fields + [f'skipped_steps {skipped:,}'] * bool(skipped)))

    def _memory(self) -> int | None:
        """The most bytes that were in use, on the GPU or else by this process; None where the system does not say."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated()
        if resource is None:
            return None
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)

    def _time_left(self, iteration: int) -> datetime.timedelta | str:
        done = iteration - self.start_iter
        if not done:
            return 'unknown'
        return datetime.timedelta(seconds=int((time.monotonic() - self.start_time) / done * (self.total_iter - iteration)))


class _BesideBar:
    """A stream to standard error that leaves the progress bar below what is written."""

    def write(self, text: str) -> None:
        tqdm.write(text, sys.stderr, end='')

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(done: int, total: int, shown: bool) -> tqdm:
    """A bar of iterations on standard error, if it is to be shown and that is a terminal; the log's lines go above it."""
    bar = tqdm(total=total, initial=done, unit='iteration', disable=None if shown else True, dynamic_ncols=True)
    if not bar.disable:
        for handler in get_root_logger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(_BesideBar())
    return bar
