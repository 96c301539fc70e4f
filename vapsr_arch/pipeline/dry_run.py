"""`vapsr train --dry-run`: whether training would run, how long it would take and how large it would get."""

import datetime
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.pipeline.registration import register

_ITERATIONS = 2  # the first takes longer, and does not count


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _shorten(options: dict[str, Any]) -> None:
    """Two iterations, a checkpoint, and the validation that comes at the end."""
    options['train']['total_iter'] = options['logger']['save_checkpoint_freq'] = _ITERATIONS
    options['logger'].update(print_freq=1, use_tb_logger=False)
    options['logger'].pop('wandb', None)
    if 'val' in options:
        options['val']['val_freq'] = _ITERATIONS + 1
    options['path'].pop('resume_state', None)


def dry_run(option_file: str | Path, *, launcher: str = 'none', debug: bool = False, force_yml: Sequence[str] = (),
            plugins: Sequence[str] = ()) -> None:
    """Builds all that training needs, does two iterations and a validation, and prints what the whole run will cost.

    What it writes goes to a temporary folder; a state to resume from is left alone.

    Args:
        option_file, launcher, debug, force_yml, plugins: As for `vapsr_arch.pipeline.running.train`.

    Raises:
        VapsrError: Training would not run.
    """
    keep_freed_memory()
    register()
    from basicsr.train import train_pipeline
    from basicsr.utils.dist_util import get_dist_info

    from vapsr_arch.models.run_files import bytes_to_come, network_path, state_path
    from vapsr_arch.pipeline.patches import applied
    from vapsr_arch.pipeline.processes import together
    from vapsr_arch.pipeline.run import Run
    run = Run(option_file, True, launcher=launcher, debug=debug, force_yml=force_yml, plugins=plugins)
    run.is_kept = False
    asked = deepcopy(run.options)
    _shorten(run.options)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _leave))  # the folder goes then, too
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='vapsr-dry-run-'))
        stack.enter_context(applied(run))
        stack.enter_context(together())
        train_pipeline(folder)
        ended = time.monotonic()
        if get_dist_info()[0] == 0:
            paths = {'path': {key: str(Path(folder, 'experiments', run.name, key)) for key in ('models', 'training_states')}}
            sizes = [path(paths, _ITERATIONS).stat().st_size for path in (network_path, state_path)]
            first, second = run.logged_at
            _report(asked, second - first, ended - second, bytes_to_come(asked, 0, *sizes))


def _report(options: dict[str, Any], iteration: float, validation: float, size: int) -> None:
    total_iter = options['train']['total_iter']
    validations = total_iter // options['val']['val_freq'] + 1 if 'val' in options else 0  # and one at the end
    whole = datetime.timedelta(seconds=round(total_iter * iteration + validations * validation))
    free = shutil.disk_usage(os.getcwd()).free
    print(f'The dry run went through; {options["name"]} as a whole will take about\n'
          f'  {whole}: {total_iter:,} iterations of {iteration:.3g} s'
          + (f', {validations:,} validations of {validation:.3g} s' if validations else '') +
          f'\n  {size / 1e6:,.1f} MB of checkpoints and states; {free / 1e6:,.1f} MB are free here')
