"""What BasicSR's own model classes need on today's stack and on CPUs: replacements in the table of `pipeline.patches`."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import DiffJPEG as BasicSRDiffJPEG
from basicsr.utils import USMSharp as BasicSRUSMSharp
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from vapsr_arch.models import run_files
from vapsr_arch.models.schedules import make_optimizer, make_scheduler
from vapsr_arch.weights.networks import load_into
from vapsr_arch.weights.spandrel_networks import SpandrelNetwork


def get_optimizer(self: Any, optim_type: str, params: Any, lr: float | None = None, **kwargs: Any) -> torch.optim.Optimizer:
    """Any optimizer of torch."""
    return make_optimizer(optim_type, params, lr, **kwargs)


def setup_schedulers(self: Any) -> None:
    """A scheduler for each optimizer of the model: BasicSR's, or any of torch."""
    options = dict(self.opt['train']['scheduler'])
    name = options.pop('type')
    self.schedulers += [make_scheduler(name, optimizer, **options) for optimizer in self.optimizers]


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Moves a network to the model's device, and wraps it for several processes or GPUs."""
    net = net.to(self.device)
    if self.opt['dist']:
        devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        return DistributedDataParallel(net, devices, find_unused_parameters=self.opt.get('find_unused_parameters', False))
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net


def load_network(self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = None) -> None:
    """Loads a checkpoint into a network of the model, by the rules of `vapsr_arch.weights`.

    `param_key`, which BasicSR's models pass, does not tell its own default from what the options ask: they are asked here. A
    resumed network takes its own weights, any other the EMA's, unless `path.param_key_*` says otherwise.
    """
    net = self.get_bare_model(net)
    if isinstance(net, SpandrelNetwork):
        get_root_logger().info(f'{net.architecture}: recognised by spandrel, all tensors loaded from {load_path}')
        return
    label = 'd' if net is self.get_bare_model(getattr(self, 'net_d', net)) and hasattr(self, 'net_d') else 'g'
    asked = self.opt['path'].get(f'param_key_{label}')
    if self.opt['path'].get('resume_state'):
        asked = 'params'
    if net is getattr(self, 'net_g_ema', None):
        asked = None
    get_root_logger().info(load_into(net, load_path, asked, strict))


def save_network(self: Any, net: nn.Module | list[nn.Module], net_label: str, current_iter: int,
                 param_key: str | list[str] = 'params') -> None:
    """Writes a checkpoint whole or not at all; the process of rank 0 does.

    Raises:
        VapsrError: It cannot be written.
    """
    if self.opt['rank'] == 0:
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        weights = [self.get_bare_model(net).state_dict() for net in nets]
        content = {key: {name.removeprefix('module.'): tensor.cpu() for name, tensor in tensors.items()}
                   for key, tensors in zip(keys, weights)}
        label = 'latest' if current_iter == -1 else current_iter
        run_files.write(Path(self.opt['path']['models'], f'{net_label}_{label}.pth'), run_files.to_bytes(content))


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Writes a training state whole or not at all; the process of rank 0 does.

    Raises:
        VapsrError: It cannot be written.
    """
    if self.opt['rank'] == 0 and current_iter != -1:
        state = {'epoch': epoch, 'iter': current_iter, 'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                 'schedulers': [scheduler.state_dict() for scheduler in self.schedulers]}
        run_files.write(run_files.state_path(self.opt, current_iter), run_files.to_bytes(state))


def validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
    """BasicSR's, once for an iteration: its training loop ends one past the last one, and validates that once more."""
    if self.is_train:
        current_iter = min(current_iter, self.opt['train']['total_iter'])
        validated = self.__dict__.setdefault('_validated_at', {})
        name = dataloader.dataset.opt['name']
        if validated.get(name) == current_iter:
            return
        validated[name] = current_iter
    validate = self.dist_validation if self.opt['dist'] else self.nondist_validation
    validate(dataloader, current_iter, tb_logger, save_img)


class _WithoutGpu(nn.Module):
    """A module whose `cuda()` leaves it where it is if there is no GPU."""

    def cuda(self, device: int | torch.device | None = None) -> nn.Module:
        """Moves it to the GPU, if there is one."""
        return super().cuda(device) if torch.cuda.is_available() else self


class DiffJPEG(_WithoutGpu, BasicSRDiffJPEG):
    """BasicSR's, on a CPU as well."""


class USMSharp(_WithoutGpu, BasicSRUSMSharp):
    """BasicSR's, on a CPU as well."""


def pool_on_device(module: str, name: str) -> Callable[[Any], None]:
    """`_dequeue_and_enqueue` of a model class, with its pool of training pairs on the model's device.

    Args:
        module: Its module, without `_model`.
        name: The class.
    """
    original = vars(getattr(importlib.import_module(f'basicsr.models.{module}_model'), name))['_dequeue_and_enqueue']

    def dequeue_and_enqueue(self: Any) -> None:
        """BasicSR's own; its pool is there already, so that it does not make one on a GPU."""
        if not hasattr(self, 'queue_lr'):
            self.queue_lr, self.queue_gt = (_pool(image, self.queue_size) for image in (self.lq, self.gt))
            self.queue_ptr = 0
        original(self)
    return dequeue_and_enqueue


def _pool(image: Tensor, size: int) -> Tensor:
    return torch.zeros(size, *image.shape[1:], device=image.device)
