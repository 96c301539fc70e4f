"""What a run leaves beside its weights: its log, the options as they were understood, its curves in Weights & Biases.

The terminal shows what one needs to see at the start of a run, in a few lines; the log file has everything.
"""

import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import basicsr
import torch
import torchvision
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info

from vapsr_arch import __version__
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.pipeline.run import Run

_FORMAT = '%(asctime)s %(levelname)s: %(message)s'  # of basicsr/utils/logger.py:169


class _Formatter(logging.Formatter):
    """BasicSR's format, without the empty line that it puts after a validation."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).rstrip()


class _EarlyRecords(logging.Handler):
    """Stores what is logged until there is a file for it."""

    def emit(self, record: logging.LogRecord) -> None:
        Run.current.early_log.append(record)


@contextmanager
def kept_for_file(opt: dict[str, Any]) -> Iterator[logging.Logger]:
    """Begins the log, with the run's notes, and stores what is logged for `begin_file`."""
    logger, handler = get_root_logger(), _EarlyRecords()
    if opt['rank'] == 0:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        for terminal in logger.handlers:
            if type(terminal) is logging.StreamHandler:
                terminal.setLevel(logging.INFO)
                terminal.setFormatter(_Formatter())
                terminal.addFilter(_is_for_terminal)
    try:
        for note in opt['run'].notes:
            logger.info(note)
        yield logger
    finally:
        logger.removeHandler(handler)


def _is_for_terminal(record: logging.LogRecord) -> bool:
    """Whether a message is more than what BasicSR says of each part that it builds: the lines of this package say more."""
    return record.funcName not in ('build_dataset', 'build_network', 'build_loss')


def begin_file(folder: str) -> None:
    """Begins the current run's log file, with the options and what was logged before it; the process of rank 0 does.

    basicsr/utils/logger.py:166 adds a file to the log only where nothing was logged before.
    """
    if get_dist_info()[0] != 0:
        return
    run = Run.current
    name = f'{"train" if run.is_train else "test"}_{run.name}_{time.strftime("%Y%m%d_%H%M%S")}.log'
    handler = logging.FileHandler(Path(folder, name), encoding='utf-8')
    handler.setFormatter(_Formatter())
    for record in run.early_log:
        handler.handle(record)
    get_root_logger().addHandler(handler)
    get_root_logger().debug(f'Options:\n{run.resolved()}')
    run.log_file = Path(folder, name)


def end_file() -> None:
    """Ends the log file, so that the next run in this process writes into its own alone."""
    logger = get_root_logger()
    for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()


def environment() -> str:
    """A line in place of the banner of BasicSR's `get_env_info`."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU, {torch.get_num_threads()} threads'
    return (f'vapsr_arch {__version__}, BasicSR {basicsr.__version__}, Python {platform.python_version()}, '
            f'PyTorch {torch.__version__}, torchvision {torchvision.__version__}; {where}')


def options_line(opt: dict[str, Any]) -> str:
    """A line in place of the options that BasicSR's `dict2str` lists; `begin_file` has written them to the log file."""
    run = opt['run']
    where = f'; all of them are in the log: {run.log_file}' if run.is_kept else ''
    return f'Options: {run.opt}, manual_seed {opt["manual_seed"]}{where}'


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
