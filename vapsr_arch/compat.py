"""BasicSR 1.4.2 on today's torch, without editing its files: one function a defect.

`mend_imports` comes before the first import of BasicSR, `mend_pipelines` after it; `vapsr_arch.plugin.load` calls both.
What concerns option files is in `vapsr_arch.plugin.parse_options`, what concerns the model in `VapSRModel`.
"""

import logging
import math
import os
import pickle
import sys
from collections import Counter
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


def find_resume_state(opt: dict[str, Any]) -> Path | None:
    """The state to resume from, or None.

    basicsr/train.py:71 looks under the current folder, where saving goes under the root folder, and dies of a file whose
    name is no number.
    """
    if not opt['auto_resume']:
        state = opt['path'].get('resume_state')
        return Path(state) if state else None
    states = {}
    for path in Path(opt['path']['training_states']).glob('*.state'):
        if path.stem.isdecimal():
            states[int(path.stem)] = path
        else:
            print(f'{path} is passed over: a state to resume from is named ITERATION.state')
    return states[max(states)] if states else None


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """basicsr/train.py:85 reads the state onto the current GPU, and fails without one.

    Where training stands is left in `opt['resumed']`, for `create_train_val_dataloader`.

    Raises:
        VapsrError: The state, or the network saved with it, cannot be read.
    """
    from basicsr.utils import check_resume
    path = find_resume_state(opt)
    if path is None:
        return None
    try:
        # The milestones of a schedule are a Counter.
        with torch.serialization.safe_globals([Counter]):
            state = torch.load(path, map_location='cpu', weights_only=True)
        opt['resumed'] = {'epoch': state['epoch'], 'iter': state['iter']}
    except OSError as error:
        raise VapsrError(f'{path}: the training state cannot be read: {error.strerror or error}') from None
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        raise VapsrError(f'{path} is not a training state of BasicSR, or is damaged; to resume from an earlier one, set '
                         f'path.resume_state to its name') from None
    opt['path']['resume_state'] = str(path)
    check_resume(opt, state['iter'])
    network = opt['path'].get('pretrain_network_g')
    if network and not os.path.isfile(network):
        raise VapsrError(f'{path} cannot be resumed: the network saved with it, {network}, is missing')
    return state


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple:
    """basicsr/train.py:45 counts an epoch's iterations with the last, incomplete batch, which the loader leaves out.

    Training could so end before `total_iter`, with exit code 0. The number of epochs returned here makes the loop of
    basicsr/train.py:145, from the epoch resumed to that number inclusive, do `total_iter` iterations.

    The order of the images, and the random numbers of each, depend on the seed, the rank and the epoch: see `SeededSampler`.

    Raises:
        VapsrError: The training images do not fill one batch.
    """
    from basicsr.data import build_dataloader, build_dataset

    from vapsr_arch.data.sampler import SeededSampler
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
    total_iter = opt['train']['total_iter']
    start = opt.get('resumed', {'epoch': 0, 'iter': 0})
    epochs = math.ceil((total_iter - start['iter']) / len(train_loader))
    logger.info(f'Training: {total_iter} iterations, {len(train_loader)} an epoch, batches of {train_loader.batch_size} on '
                f'each of {opt["world_size"]} processes; {max(epochs, 0)} epochs to go')
    return train_loader, train_sampler, val_loaders, start['epoch'] + epochs - 1, total_iter


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
    basicsr.train.CPUPrefetcher, basicsr.train.CUDAPrefetcher = Prefetcher, CUDAPrefetcher
    basicsr.train.load_resume_state = load_resume_state
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    pass_on_prefetch_errors()
