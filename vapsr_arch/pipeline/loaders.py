"""What the training loop reads: the state it resumes from, its data, and their way into it."""

import logging
import sys
from pathlib import Path
from typing import Any

import torch

from vapsr_arch.data.epochs import EpochPlan
from vapsr_arch.data.paired_dataset import PairedDataset
from vapsr_arch.data.sampler import SeededSampler
from vapsr_arch.errors import VapsrError
from vapsr_arch.metrics.measure import check_size
from vapsr_arch.models.run_files import newest_state, read_state
from vapsr_arch.models.stopping import shield_worker


def find_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, or None.

    basicsr/train.py:68, `load_resume_state`, looks under the current folder, where saving goes under the root folder, and dies
    of a file whose name is no number; it reads the state onto the current GPU, and fails without one.

    Where training stands is left in the run, for `create_train_val_dataloader`.

    Raises:
        VapsrError: The state, or the network saved with it, cannot be read, or it is beyond `train.total_iter`.
    """
    from basicsr.utils import check_resume

    if opt['auto_resume']:
        found = newest_state(opt)
    else:
        path = opt['path'].get('resume_state')
        found = (path, read_state(opt, Path(path))) if path else None
    if found is None:
        if opt['auto_resume'] and opt['rank'] == 0:
            print(f'--auto_resume: there is no training state in {opt["path"]["training_states"]}: training starts at 0')
        return None
    path, state = found
    if state['iter'] > opt['train']['total_iter']:
        raise VapsrError(f'{path} is of iteration {state["iter"]:,}, beyond train.total_iter {opt["train"]["total_iter"]:,}: '
                         f'raise total_iter, or start a new run under another name')
    opt['path']['resume_state'] = str(path)
    check_resume(opt, state['iter'])
    opt['run'].resumed = {'iteration': state['iter'], 'epoch': state['epoch'], 'position': state.get('position', 0)}
    if not opt['run'].seed_given and 'options' in state:  # the order of the images continues, too
        opt['manual_seed'] = opt['run'].options['manual_seed'] = state['options']['manual_seed']
    return state


def resume(model: Any, state: dict[str, Any]) -> None:
    """Puts a training state into a model, of any class.

    Raises:
        VapsrError: The state does not fit the model: its class, its optimizers or its schedules are others now.
    """
    try:
        model.resume_training(state)
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise VapsrError(f'the training state of iteration {state["iter"]:,} does not fit the options, which may have '
                         f'changed since ({reason[:200]}): set them back, or begin a new run from the weights with '
                         f'path.pretrain_network_g') from None


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple:
    """basicsr/train.py:45 counts an epoch's iterations with the last, incomplete batch, which the loader leaves out.

    Training could so end before `total_iter`, with exit code 0. The number of epochs returned here makes the loop of
    basicsr/train.py:145, from the epoch resumed to that number inclusive, do `total_iter` iterations.

    The order of the images, and the random numbers of each, depend on the seed and the epoch: see `SeededSampler`. A
    resumed run continues within the epoch; the run's EpochPlan is left for the model, which saves where it stands. The
    loader draws from a generator of its own: resuming does not change what the network draws.

    Raises:
        VapsrError: The training images do not fill one batch, or an image is too small for a metric.
    """
    from basicsr.data import build_dataloader, build_dataset

    common = dict(num_gpu=opt['num_gpu'], dist=opt['dist'], seed=opt['manual_seed'])
    seed = [opt['manual_seed']]
    if opt['dist']:
        torch.distributed.broadcast_object_list(seed)  # without one in the options, each process has drawn its own
    val_loaders = []
    for phase, dataset_opt in opt['datasets'].items():
        dataset = build_dataset(dataset_opt)
        if phase == 'train':
            ratio = dataset_opt.get('dataset_enlarge_ratio', 1)
            train_sampler = SeededSampler(dataset, opt['world_size'], opt['rank'], ratio, seed[0])
            train_loader = build_dataloader(dataset, dataset_opt, sampler=train_sampler, **common)
        else:
            check_measurable(dataset, opt)
            val_loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **common))
        logger.info(f'datasets.{phase}: {dataset_opt["name"]}, {len(dataset)} images')

    if len(train_loader) == 0:
        raise VapsrError(
            f'{opt["datasets"]["train"]["name"]}: {len(train_loader.dataset)} images with dataset_enlarge_ratio {ratio} do '
            f'not fill one batch of {train_loader.batch_size} on each of {opt["world_size"]} processes: raise '
            f'dataset_enlarge_ratio or lower batch_size_per_gpu')
    train_loader.generator = torch.Generator()
    train_loader.worker_init_fn = shield_worker
    if sys.platform == 'linux' and train_loader.num_workers:  # Python 3.14 starts them from a server without any plugin
        train_loader.multiprocessing_context = 'fork'
    plan = EpochPlan(train_sampler.num_samples * opt['world_size'], train_loader.batch_size * opt['world_size'],
                     **opt['run'].resumed)
    train_sampler.begin_at(plan.epoch, plan.position)
    opt['run'].epoch_plan = plan
    total_iter = opt['train']['total_iter']
    logger.info(f'Training: {total_iter} iterations, {plan.whole} an epoch, batches of {train_loader.batch_size} on each of '
                f'{opt["world_size"]} processes; from iteration {plan.iteration} on')
    return train_loader, train_sampler, val_loaders, plan.last_epoch(total_iter), total_iter


def check_measurable(dataset: Any, opt: dict[str, Any]) -> None:
    """Checks that the metrics can be calculated of each image of a set with HR images.

    Raises:
        VapsrError: One is too small.
    """
    metrics = opt.get('val', {}).get('metrics', {})
    for index in range(len(dataset) if isinstance(dataset, PairedDataset) else 0):
        name, height, width = dataset.lq_name_and_size(index)
        check_size(height * opt['scale'], width * opt['scale'], f'{name} upscaled by {opt["scale"]}', metrics)


def put_batches(self: Any) -> None:
    """The reading thread of `prefetch_mode: cpu`: batches, then None; or the error that ended it."""
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except Exception as error:
        self.queue.put(error)


def take_batch(self: Any) -> Any:
    """The next of `put_batches`."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, Exception):
        raise item
    return item
