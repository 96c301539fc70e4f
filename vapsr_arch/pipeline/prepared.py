"""Builds all that a run needs before an older folder of its name is archived: a start that fails leaves everything as it was.

BasicSR's pipelines archive the folder first (basicsr/train.py:96, basicsr/test.py:18) and then build data sets and model. Here
`make_exp_dirs` builds them, and the pipelines are given what it built when they come to it.
"""

import logging
import time
from pathlib import Path
from typing import Any

from vapsr_arch.errors import VapsrError
from vapsr_arch.pipeline import loaders
from vapsr_arch.pipeline.basicsr_models import gaps_of
from vapsr_arch.pipeline.run import Run

_FORMAT = '%(asctime)s %(levelname)s: %(message)s'  # of basicsr/utils/logger.py


class _Held(logging.Handler):
    """Keeps what is logged until there is a file for it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def make_exp_dirs(opt: dict[str, Any]) -> None:
    """Builds data sets and model, then makes the run's folder, archiving an older one, and begins its log file.

    Raises:
        VapsrError: The images, the checkpoint or the disk do not allow the run.
    """
    from basicsr.utils import get_root_logger
    from basicsr.utils import make_exp_dirs as basicsr_make_exp_dirs
    logger = get_root_logger()
    held = _Held()
    if opt['rank'] == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(held)
    try:
        (_prepare_training if opt['is_train'] else _prepare_test)(opt, logger)
    finally:
        logger.removeHandler(held)
    basicsr_make_exp_dirs(opt)
    if opt['rank'] == 0:
        kind = 'train' if opt['is_train'] else 'test'
        name = f'{kind}_{opt["name"]}_{time.strftime("%Y%m%d_%H%M%S")}.log'
        file = logging.FileHandler(Path(opt['path']['log'], name), 'w', encoding='utf-8')
        file.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(file)
        for record in held.records:
            file.handle(record)


def _prepare_training(opt: dict[str, Any], logger: logging.Logger) -> None:
    from basicsr.models import build_model
    prepared = opt['run'].prepared
    prepared['loaders'] = loaders.create_train_val_dataloader(opt, logger)
    prepared['model'] = build_model(opt)


def _prepare_test(opt: dict[str, Any], logger: logging.Logger) -> None:
    from basicsr.data import build_dataset
    from basicsr.models import build_model
    prepared = opt['run'].prepared
    _leave_out_missing(opt)
    for dataset in opt['datasets'].values():
        prepared[_dataset_key(dataset)] = build_dataset(dataset)
    prepared['model'] = build_model(opt)


def _leave_out_missing(opt: dict[str, Any]) -> None:
    """Takes the sets out of the options whose images are not there, and says so.

    Raises:
        VapsrError: Not one is there.
    """
    absent = {}
    for phase, dataset in list(opt['datasets'].items()):
        missing = missing_root(dataset)
        if missing:
            absent[dataset['name']] = f'there is no {missing}'
            del opt['datasets'][phase]
    for name, reason in absent.items():
        print(f'{name} is left out: {reason}')
    if not opt['datasets']:
        raise VapsrError(f'not one set of {opt["run"].opt} is there ({"; ".join(absent.values())}): `vapsr data fetch` downloads '
                         f'the public ones')


def missing_root(dataset: dict[str, Any]) -> str | None:
    """The folder or file of a data set's images that is not there, if one is not."""
    return next((dataset[key] for key in ('dataroot_gt', 'dataroot_lq')
                 if isinstance(dataset.get(key), str) and not Path(dataset[key]).exists()), None)


def build_model(opt: dict[str, Any]) -> Any:
    """The model that was prepared, or a new one; of a model class of others it is said what it lacks."""
    from basicsr.models import build_model as basicsr_build_model
    from basicsr.utils import get_root_logger
    model = opt['run'].prepared.pop('model', None) or basicsr_build_model(opt)
    gaps = gaps_of(model, opt) if opt['is_train'] else None
    if gaps and opt['rank'] == 0:
        get_root_logger().warning(gaps)
    return model


def build_dataset(dataset_opt: dict[str, Any]) -> Any:
    """The data set that was prepared, or a new one."""
    from basicsr.data import build_dataset as basicsr_build_dataset
    prepared = Run.current.prepared.pop(_dataset_key(dataset_opt), None)
    return basicsr_build_dataset(dataset_opt) if prepared is None else prepared


def _dataset_key(dataset_opt: dict[str, Any]) -> str:
    return f'dataset {dataset_opt["phase"]} {dataset_opt["name"]}'
