"""`vapsr train --dry-run`: whether training would run, how long it would take and how large it would get."""

import datetime
import functools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from types import FrameType
from typing import Any
from unittest import mock

from vapsr_arch.train import prepare

_ITERATIONS = 2  # the first takes longer, and does not count


def _timed(function: Callable, seconds: list[float]) -> Callable:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **more: Any) -> Any:
        start = time.monotonic()
        result = function(*arguments, **more)
        seconds.append(time.monotonic() - start)
        return result
    return wrapper


def _noted(function: Callable, moments: list[float]) -> Callable:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> None:
        moments.append(time.monotonic())
        function(*arguments)
    return wrapper


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _shorten(opt: dict[str, Any]) -> None:
    """Two iterations, a checkpoint, and the validation that comes at the end."""
    opt['train']['total_iter'] = opt['logger']['save_checkpoint_freq'] = _ITERATIONS
    opt['logger'].update(print_freq=1, use_tb_logger=False, wandb=None)
    if 'val' in opt:
        opt['val']['val_freq'] = _ITERATIONS + 1
    opt['auto_resume'], opt['path']['resume_state'] = False, None


def dry_run(arguments: Sequence[str]) -> None:
    """Builds all that training needs, does two iterations and a validation, and prints what the whole run will cost.

    What it writes goes to a temporary folder; a state to resume from is left alone.

    Args:
        arguments: As for `vapsr_arch.train.train`.

    Raises:
        VapsrError: Training would not run.
    """
    prepare(arguments)
    import basicsr.train

    from vapsr_arch.distributed import together
    from vapsr_arch.models.progress import TrainingLog
    from vapsr_arch.models.run_files import bytes_to_come, network_path, state_path
    from vapsr_arch.models.vapsr_model import VapSRModel
    parse_options = basicsr.train.parse_options
    asked, shortened, moments, validations = {}, {}, [], []

    def parse(root: str, is_train: bool) -> tuple:
        opt, parsed = parse_options(root, is_train)
        asked.update(deepcopy(opt))
        _shorten(opt)
        shortened.update(opt)
        return opt, parsed

    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _leave))  # the folder goes then, too
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='vapsr-dry-run-'))
        for owner, name, replacement in (
                (basicsr.train, 'parse_options', parse),
                (VapSRModel, 'validation', _timed(VapSRModel.validation, validations)),
                (TrainingLog, '__call__', _noted(TrainingLog.__call__, moments))):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        stack.enter_context(together())
        basicsr.train.train_pipeline(folder)
        if asked['rank'] == 0:
            sizes = [path(shortened, _ITERATIONS).stat().st_size for path in (network_path, state_path)]
            _report(asked, moments[1] - moments[0], sum(validations), bytes_to_come(asked, 0, *sizes))


def _report(opt: dict[str, Any], iteration: float, validation: float, size: int) -> None:
    total_iter = opt['train']['total_iter']
    validations = total_iter // opt['val']['val_freq'] + 1 if 'val' in opt else 0  # and one at the end
    whole = datetime.timedelta(seconds=round(total_iter * iteration + validations * validation))
    free = shutil.disk_usage(os.getcwd()).free
    print(f'The dry run went through; {opt["name"]} as a whole will take about\n'
          f'  {whole}: {total_iter:,} iterations of {iteration:.3g} s'
          + (f', {validations:,} validations of {validation:.3g} s' if validations else '') +
          f'\n  {size / 1e6:,.1f} MB of checkpoints and states; {free / 1e6:,.1f} MB are free here')
