"""Builds all that a run needs before an older folder of its name is archived: a start that fails leaves everything as it was.

BasicSR's pipelines archive the folder and begin the log first (basicsr/train.py:103, basicsr/test.py:19), and build data sets
and model then. Here the last of their steps before that, `load_resume_state` or in a test `make_exp_dirs`, builds them, and the
pipelines are given what it built when they come to it.
"""

import itertools
import logging
import shutil
from pathlib import Path
from typing import Any

import basicsr.data
import basicsr.models
import basicsr.utils
import torch
from basicsr.utils.dist_util import get_dist_info

from vapsr_arch.errors import VapsrError
from vapsr_arch.options.roots import paths_of
from vapsr_arch.options.schema import OWN_DATASETS
from vapsr_arch.pipeline import loaders, logs
from vapsr_arch.pipeline.basicsr_models import gaps_of
from vapsr_arch.pipeline.run import Run

_ROOM_OF_A_TEST = 1_000_000  # bytes that the log and the figures take at most


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Builds what training needs, and returns the state to resume from, or None.

    Raises:
        VapsrError: The state, the images, the checkpoint or the disk do not allow the run, or wandb does not; or the state
            does not fit the options.
    """
    state = loaders.find_resume_state(opt)
    _check_validation_sets(opt)
    with logs.kept_for_file(opt) as logger:
        opt['run'].prepared['loaders'] = loaders.create_train_val_dataloader(opt, logger)
        model = opt['run'].prepared['model'] = basicsr.models.build_model(opt)
        if state:
            loaders.resume(model, state)
        logs.begin_wandb(opt)
    return state


def _check_validation_sets(opt: dict[str, Any]) -> None:
    """Raises VapsrError where the images of a set to validate on are not there; other classes may mean no paths by these keys."""
    for phase, dataset in opt['datasets'].items():
        missing = missing_root(dataset) if phase.startswith('val') and dataset['type'] in OWN_DATASETS else None
        if missing:
            raise VapsrError(f'{opt["run"].opt}: datasets.{phase}: there is no {missing}: `vapsr data fetch` downloads the '
                             f'public sets, `vapsr data pack` makes packs; or name another set')


def make_exp_dirs(opt: dict[str, Any]) -> None:
    """Builds what a test needs, leaving out sets that are not there; then makes its folder and begins its log.

    Raises:
        VapsrError: Not one set is there, or the images, the checkpoint or the disk do not allow the test.
    """
    prepared = opt['run'].prepared
    _leave_out_missing(opt)
    with logs.kept_for_file(opt):
        for dataset in opt['datasets'].values():
            built = prepared[_dataset_key(dataset)] = basicsr.data.build_dataset(dataset)
            loaders.check_measurable(built, opt)
        prepared['model'] = basicsr.models.build_model(opt)
    folder = Path(opt['path']['results_root'])
    if shutil.disk_usage(next(parent for parent in folder.parents if parent.is_dir())).free < _ROOM_OF_A_TEST:
        raise VapsrError(f'{folder}: less than {_ROOM_OF_A_TEST // 10**6} MB is free: make room')
    basicsr.utils.make_exp_dirs(opt)
    if get_dist_info()[1] > 1:
        torch.distributed.barrier()  # the first process renames a folder that is there: no other writes images before
    logs.begin_file(opt['path']['log'])


def _leave_out_missing(opt: dict[str, Any]) -> None:
    """Removes the sets whose images are not there from the options, and prints which.

    Raises:
        VapsrError: Not one is there.
    """
    absent = {phase: missing for phase, dataset in opt['datasets'].items() if (missing := missing_root(dataset))}
    if len(absent) == len(opt['datasets']):
        raise VapsrError(f'{opt["run"].opt}: not one of its sets is there: there is no {", no ".join(absent.values())}: correct '
                         f'the paths; `vapsr data fetch` downloads the public sets')
    for phase, missing in absent.items():
        name = opt['datasets'].pop(phase)['name']
        if opt['rank'] == 0:
            print(f'{name} is skipped: there is no {missing}')


def missing_root(dataset: dict[str, Any]) -> str | None:
    """The folder or file of a data set's images that is not there, if one is not."""
    return next((path for key in ('dataroot_gt', 'dataroot_lq') for path in paths_of(dataset.get(key))
                 if not Path(path).exists()), None)


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple:
    """The loaders that were prepared."""
    return opt['run'].prepared.pop('loaders')


def build_model(opt: dict[str, Any]) -> Any:
    """The model that was prepared; a warning lists what a third-party model class lacks."""
    model = opt['run'].prepared.pop('model')
    model.resume_training = _is_resumed
    gaps = gaps_of(model, opt) if opt['is_train'] else None
    if gaps and opt['rank'] == 0:
        basicsr.utils.get_root_logger().warning(gaps)
    return model


def _is_resumed(resume_state: dict[str, Any]) -> None:
    """Nothing: `load_resume_state` has put the state into the model."""


def build_dataset(dataset_opt: dict[str, Any]) -> Any:
    """The data set that was prepared for a test."""
    return Run.current.prepared.pop(_dataset_key(dataset_opt))


def _dataset_key(dataset_opt: dict[str, Any]) -> str:
    return f'data set {dataset_opt["name"]}'


def mkdir_and_rename(path: str) -> None:
    """Makes a folder; one that is there is renamed first, to a name that is free in this second, too."""
    folder = Path(path)
    if folder.exists():
        archived = f'{path}_archived_{basicsr.utils.get_time_str()}'
        names = itertools.chain([archived], (f'{archived}_{number}' for number in itertools.count(2)))
        archived = next(name for name in names if not Path(name).exists())
        print(f'{path} exists already, and is renamed to {archived}', flush=True)
        folder.rename(archived)
    folder.mkdir(parents=True)
