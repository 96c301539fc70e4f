"""What a run leaves beside its weights: its log, the options as they were understood, its curves in Weights & Biases."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.pipeline.run import Run

_FORMAT = '%(asctime)s %(levelname)s: %(message)s'  # of basicsr/utils/logger.py:169


class _Kept(logging.Handler):
    """Keeps what is logged until there is a file for it."""

    def emit(self, record: logging.LogRecord) -> None:
        Run.current.early_log.append(record)


@contextmanager
def kept_for_file(opt: dict[str, Any]) -> Iterator[logging.Logger]:
    """Begins the log, and keeps what is logged for `begin_file`."""
    logger, handler = get_root_logger(), _Kept()
    if opt['rank'] == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


def begin_file(folder: str) -> None:
    """Begins the current run's log file, with what was logged before it; the process of rank 0 does.

    basicsr/utils/logger.py:166 adds a file to the log only where nothing was logged before.
    """
    if get_dist_info()[0] != 0:
        return
    run = Run.current
    name = f'{"train" if run.is_train else "test"}_{run.name}_{time.strftime("%Y%m%d_%H%M%S")}.log'
    handler = logging.FileHandler(Path(folder, name), encoding='utf-8')
    handler.setFormatter(logging.Formatter(_FORMAT))
    get_root_logger().addHandler(handler)
    for record in run.early_log:
        handler.handle(record)


def end_file() -> None:
    """Ends the log file, so that the next run in this process writes into its own alone."""
    logger = get_root_logger()
    for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()


def copy_opt_file(option_file: str, experiments_root: str) -> None:
    """Writes the current run's option file, as it was understood, into the run's folder, and begins the log file there."""
    if get_dist_info()[0] == 0:
        with written_whole(Path(experiments_root, Path(option_file).name)) as path:
            path.write_text(Run.current.resolved(), encoding='utf-8')
    begin_file(experiments_root)


def begin_wandb(opt: dict[str, Any]) -> None:
    """Begins a run of Weights & Biases that follows TensorBoard's curves, or resumes one: `logger.wandb.resume_id`.

    As in basicsr/train.py:19, a run whose name has `debug` in it has none.

    Raises:
        VapsrError: It cannot be begun.
    """
    settings = opt['logger'].get('wandb', {})
    if opt['rank'] != 0 or not settings.get('project') or 'debug' in opt['name']:
        return
    import wandb
    try:
        run = wandb.init(project=settings['project'], entity=settings.get('entity'), id=settings.get('resume_id'),
                         resume='allow' if settings.get('resume_id') else None, name=opt['name'],
                         config=opt['run'].options, sync_tensorboard=True)
    except wandb.Error as error:
        raise VapsrError(f'logger.wandb: {error}; WANDB_MODE=offline needs no server') from None
    get_root_logger().info(f'wandb: project {settings["project"]}, id {run.id}')


def init_wandb_logger(opt: dict[str, Any]) -> None:
    """Nothing: `begin_wandb` has begun it."""
