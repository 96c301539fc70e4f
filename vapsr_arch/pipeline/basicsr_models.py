"""What BasicSR's own model classes need on today's stack and on CPUs: replacements in the table of `pipeline.patches`."""

import contextlib
import http.client
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import DiffJPEG as BasicSRDiffJPEG
from basicsr.utils import USMSharp as BasicSRUSMSharp
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.img_process_util import filter2D as basicsr_filter2D
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from vapsr_arch.archs.common.adapted import bare
from vapsr_arch.archs.common.operations import input_size, operations
from vapsr_arch.errors import VapsrError
from vapsr_arch.models import run_files
from vapsr_arch.models.resilience import ResilientSRModel
from vapsr_arch.models.vapsr_model import VapSRModel
from vapsr_arch.weights.networks import load_into

_PRETRAINED = Path('experiments/pretrained_models')  # where BasicSR looks for the weights of VGG19, under the current folder
_OWN_KEYS = {  # of the option file, which VapSRModel alone reads
    'train': ('amp', 'accumulate', 'grad_clip_norm', 'compile', 'channels_last', 'nan_guard', 'freeze'),
    'val': ('self_ensemble', 'tile'), 'logger': ('keep_last',)}


# Of VapSRModel, whose methods ask for nothing that other models lack.
get_optimizer, setup_schedulers, load_network = VapSRModel.get_optimizer, VapSRModel.setup_schedulers, VapSRModel.load_network


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Moves a network to the model's device, and wraps it for several processes or GPUs."""
    net = net.to(self.device)
    net.register_forward_hook(_contiguous)
    if self.opt['dist']:
        devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        return DistributedDataParallel(net, devices, find_unused_parameters=self.opt.get('find_unused_parameters', False))
    return DataParallel(net) if self.opt['num_gpu'] > 1 else net


def _contiguous(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Makes images contiguous, as BasicSR's discriminators need them, which take `view`s; VapSR's are in channels_last."""
    return output.contiguous() if isinstance(output, Tensor) else output


def filter2D(image: Tensor, kernel: Tensor) -> Tensor:
    """BasicSR's, for images in any layout; arguments as there."""
    return basicsr_filter2D(image.contiguous(), kernel)


@master_only
def print_network(self: Any, net: nn.Module) -> None:
    """Logs a network in a line; its modules go to the log file alone."""
    net = self.get_bare_model(net)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    text = f'Network {type(bare(net)).__name__}: {parameters:,} parameters'
    if net is self.get_bare_model(getattr(self, 'net_g', None)):
        with contextlib.suppress(Exception):  # whatever a network raises for tensors without values: this is a line of the log
            multi_adds = operations(net, input_size(self.opt['scale'])).multi_adds
            text += f', {multi_adds / 1e9:.2f} G multi-adds for an output of 1280x720'
    get_root_logger().info(text)
    get_root_logger().debug(f'Network:\n{net}')


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


class _FollowsInput(nn.Module):
    """A module that works where its input is, whatever `cuda()` is called for."""

    def cuda(self, device: int | torch.device | None = None) -> nn.Module:
        """Leaves it where it is."""
        return self

    def forward(self, x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """Its class's own, on the input's device."""
        self.to(x.device)
        return super().forward(x, *arguments, **keywords)


class DiffJPEG(_FollowsInput, BasicSRDiffJPEG):
    """BasicSR's, on any device."""


class USMSharp(_FollowsInput, BasicSRUSMSharp):
    """BasicSR's, on any device."""


def pool_on_device(module: str, name: str) -> Callable[[Any], None]:
    """`_dequeue_and_enqueue` of a model class, with its pool of training pairs on the model's device.

    Args:
        module: Its module, without `_model`.
        name: The class.
    """
    original = vars(getattr(importlib.import_module(f'basicsr.models.{module}_model'), name))['_dequeue_and_enqueue']

    def dequeue_and_enqueue(self: Any) -> None:
        """BasicSR's own; its pool exists already, so that it does not make one on a GPU."""
        if not hasattr(self, 'queue_lr'):
            batch = self.lq.shape[0]
            if self.queue_size % batch:
                raise VapsrError(f'queue_size: {self.queue_size} is not a multiple of the batch size {batch}')
            self.queue_lr, self.queue_gt = (_pool(image, self.queue_size) for image in (self.lq, self.gt))
            self.queue_ptr = 0
        original(self)
    return dequeue_and_enqueue


def _pool(image: Tensor, size: int) -> Tensor:
    return torch.zeros(size, *image.shape[1:], device=image.device)


class VGGNetworks:
    """In place of torchvision's module `vgg` in BasicSR's perceptual loss: where its weights come from, and what to do if not.

    Every name is a function that builds the network of that name, as `vgg19(pretrained=True)`.
    """

    def __getattr__(self, name: str) -> Callable[..., nn.Module]:
        def build(pretrained: bool = False) -> nn.Module:
            """The network, with the weights that torchvision's authors trained on ImageNet if they are asked for.

            Raises:
                VapsrError: They are not there and cannot be downloaded.
            """
            from torchvision.models import get_model, get_model_weights
            network = get_model(name, weights=None, init_weights=False)
            if pretrained:
                url = get_model_weights(name).IMAGENET1K_V1.url
                _load_pretrained(network, url, _PRETRAINED / url.rpartition('/')[2])
            return network
        return build


def _load_pretrained(network: nn.Module, url: str, path: Path) -> None:
    if path.is_file():
        get_root_logger().info(load_into(network, path))
        return
    try:
        weights = torch.hub.load_state_dict_from_url(url, map_location='cpu', check_hash=True, weights_only=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise VapsrError(f'a loss needs the weights {path.name}, and {url} cannot be downloaded ({error}): download it '
                         f'elsewhere, and put it into {path.parent}/') from None
    network.load_state_dict(weights)


def gaps_of(model: Any, opt: dict[str, Any]) -> str | None:
    """A sentence about what a model class lacks of VapSRModel, and what the options ask for in vain; None if nothing."""
    if isinstance(model, ResilientSRModel):
        return None
    unread = [f'{section}.{key}' for section, keys in _OWN_KEYS.items() for key in keys if key in opt.get(section, {})]
    return (f'{opt["model_type"]} is not a VapSRModel: no guard against NaN, no best checkpoint; a signal ends it without '
            f'saving; a resumed run begins its epoch again, with other random numbers'
            + (f'. It may not read {", ".join(unread)}' if unread else ''))
