"""BasicSR 1.4.2 on today's torch, without editing its files: one function a defect.

`mend_imports` comes before the first import of BasicSR, `mend_pipelines` after it; `vapsr_arch.plugin.load` calls both.
What concerns option files is in `vapsr_arch.plugin.parse_options`, what concerns the model in `VapSRModel`.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import torch

from vapsr_arch.errors import VapsrError

_torchvision_operators: list[torch.library.Library] = []  # operators are gone when their library is


def define_torchvision_operators() -> None:
    """A CUDA build of torchvision beside a CPU build of torch: `operator torchvision::nms does not exist`.

    torchvision describes two operators of its compiled part, which does not load there. Nothing here calls them, so that
    declaring them is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        library = torch.library.Library('torchvision', 'FRAGMENT')
        library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _torchvision_operators.append(library)


def alias_functional_tensor() -> None:
    """basicsr/data/degradations.py:8 imports a module that torchvision 0.17 dropped; its functions live on in another."""
    from torchvision.transforms import functional
    sys.modules.setdefault('torchvision.transforms.functional_tensor', functional)


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, or None.

    basicsr/train.py:71 looks under the current folder, where saving goes under the root folder, and dies of a file whose
    name is no number; it reads the state onto the current GPU, and fails without one.

    Where training stands is left in `opt['resumed']`, for `create_train_val_dataloader`.

    Raises:
        VapsrError: The state, or the network saved with it, cannot be read.
    """
    from basicsr.utils import check_resume

    from vapsr_arch.models.run_files import newest_state, read_state
    if opt['auto_resume']:
        found = newest_state(opt)
    else:
        path = opt['path'].get('resume_state')
        found = (path, read_state(opt, Path(path))) if path else None
    if found is None:
        return None
    path, state = found
    opt['path']['resume_state'] = str(path)
    check_resume(opt, state['iter'])
    opt['resumed'] = {'iteration': state['iter'], 'epoch': state['epoch'], 'position': state.get('position', 0)}
    if not opt['seed_given'] and 'options' in state:  # the order of the images goes on, too
        opt['manual_seed'] = state['options']['manual_seed']
    return state


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple:
    """basicsr/train.py:45 counts an epoch's iterations with the last, incomplete batch, which the loader leaves out.

    Training could so end before `total_iter`, with exit code 0. The number of epochs returned here makes the loop of
    basicsr/train.py:145, from the epoch resumed to that number inclusive, do `total_iter` iterations.

    The order of the images, and the random numbers of each, depend on the seed and the epoch: see `SeededSampler`. A
    resumed run goes on within the epoch; `opt['epoch_plan']` is left for the model, which saves where it stands. The
    loader draws from a generator of its own: resuming does not change what the network draws.

    Raises:
        VapsrError: The training images do not fill one batch.
    """
    from basicsr.data import build_dataloader, build_dataset

    from vapsr_arch.data.epochs import EpochPlan
    from vapsr_arch.data.sampler import SeededSampler
    from vapsr_arch.models.stopping import shield_worker
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
            val_loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **common))
        logger.info(f'{dataset_opt["name"]}: {len(dataset)} images')

    if len(train_loader) == 0:
        raise VapsrError(
            f'{opt["datasets"]["train"]["name"]}: {len(train_loader.dataset)} images with dataset_enlarge_ratio {ratio} do '
            f'not fill one batch of {train_loader.batch_size} on each of {opt["world_size"]} processes: raise '
            f'dataset_enlarge_ratio or lower batch_size_per_gpu')
    train_loader.generator = torch.Generator()
    train_loader.worker_init_fn = shield_worker
    plan = EpochPlan(train_sampler.num_samples * opt['world_size'], train_loader.batch_size * opt['world_size'],
                     **opt.get('resumed', {}))
    train_sampler.begin_at(plan.epoch, plan.position)
    opt['epoch_plan'] = plan
    total_iter = opt['train']['total_iter']
    logger.info(f'Training: {total_iter} iterations, {plan.whole} an epoch, batches of {train_loader.batch_size} on each of '
                f'{opt["world_size"]} processes; from iteration {plan.iteration} on')
    return train_loader, train_sampler, val_loaders, plan.last_epoch(total_iter), total_iter


def pass_on_prefetch_errors() -> None:
    """basicsr/data/prefetch_dataloader.py:24: with `prefetch_mode: cpu` an error ends the reading thread, and all wait."""
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def run(self: PrefetchGenerator) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except Exception as error:
            self.queue.put(error)

    def take(self: PrefetchGenerator) -> Any:
        item = self.queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        return item

    PrefetchGenerator.run, PrefetchGenerator.__next__ = run, take


def mend_imports() -> None:
    """What has to be done before BasicSR is imported for the first time."""
    define_torchvision_operators()
    alias_functional_tensor()


def mend_pipelines() -> None:
    """Puts the functions above in the place of BasicSR's."""
    import basicsr.train

    from vapsr_arch.data.prefetch import CUDAPrefetcher, Prefetcher
    from vapsr_arch.models.progress import TrainingLog
    basicsr.train.CPUPrefetcher, basicsr.train.CUDAPrefetcher = Prefetcher, CUDAPrefetcher
    basicsr.train.MessageLogger = TrainingLog
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    pass_on_prefetch_errors()
