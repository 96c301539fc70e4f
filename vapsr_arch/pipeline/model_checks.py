"""Checks of what a model class makes of the options: losses, optimizers and schedule, and what BasicSR's own classes ask for."""

import inspect
import math
import os
from collections.abc import Iterator
from typing import Any

import torch

from vapsr_arch.options.faults import fault, shown
from vapsr_arch.options.schema import OWN_MODELS, losses_of
from vapsr_arch.pipeline.networks import parameters_of
from vapsr_arch.pipeline.registration import registered

# What basicsr/models/realesrnet_model.py:77 and basicsr/data/realesrgan_dataset.py:40 read without asking whether it is there.
_DEGRADATIONS = (
    'resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range', 'gray_noise_prob', 'jpeg_range',
    'second_blur_prob', 'resize_prob2', 'resize_range2', 'gaussian_noise_prob2', 'noise_range2', 'poisson_scale_range2',
    'gray_noise_prob2', 'jpeg_range2', 'gt_size')
_BLURS = (
    'dataroot_gt', 'io_backend', 'use_hflip', 'use_rot', 'blur_kernel_size', 'kernel_list', 'kernel_prob', 'blur_sigma',
    'betag_range', 'betap_range', 'sinc_prob', 'blur_kernel_size2', 'kernel_list2', 'kernel_prob2', 'blur_sigma2', 'betag_range2',
    'betap_range2', 'sinc_prob2', 'final_sinc_prob')


def training_faults(path: str | os.PathLike, train: dict[str, Any]) -> Iterator[str]:
    """What torch has against the values of optimizers and schedule; their names and arguments are known to be right."""
    from vapsr_arch.models.schedules import make_optimizer, make_scheduler
    for key in [key for key in train if key.startswith('optim_')]:
        try:
            optimizer = make_optimizer(train[key]['type'], [torch.nn.Parameter(torch.zeros(1))],
                                       **{name: value for name, value in train[key].items() if name != 'type'})
        except Exception as error:  # values of any kind meet code of torch that expects others
            yield fault(path, f'train.{key}', _reason(error))
            continue
        arguments = {name: value for name, value in train['scheduler'].items() if name != 'type'}
        try:
            scheduler = make_scheduler(train['scheduler']['type'], optimizer, **arguments)
        except Exception as error:
            yield fault(path, 'train.scheduler', _reason(error))
            return
        steps = getattr(scheduler, 'total_steps', math.inf)  # OneCycleLR ends with an error after them
        if steps < train['total_iter']:
            yield fault(path, 'train.scheduler.total_steps', f'{steps}, less than total_iter {train["total_iter"]}')
            return


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split())[:200] or type(error).__name__


def loss_faults(path: str | os.PathLike, options: dict[str, Any]) -> Iterator[str]:
    """Weights of losses that are no numbers, and losses that VapSRModel cannot call with output and ground truth."""
    from basicsr.losses.gan_loss import GANLoss
    from basicsr.utils.registry import LOSS_REGISTRY
    losses = losses_of(options.get('train', {}))
    for name, loss in losses.items():
        for key in [key for key in loss if key.endswith('weight')]:
            if type(loss[key]) not in (int, float) or not math.isfinite(loss[key]):
                yield fault(path, f'train.{name}.{key}', f'must be a number, not {shown(loss[key])}')
    if options['model_type'] not in OWN_MODELS:
        return
    known = registered(LOSS_REGISTRY)
    for name, loss in losses.items():
        kind = known.get(loss['type'])
        if not inspect.isclass(kind):
            continue
        if issubclass(kind, GANLoss):
            yield fault(path, f'train.{name}', f'{loss["type"]} needs a discriminator, which {options["model_type"]} does not '
                                               f'train: set model_type: ESRGANModel or SRGANModel, with network_d and optim_d')
            continue
        try:
            inspect.signature(kind.forward).bind(None, None, None)
        except TypeError:
            if len(parameters_of(kind.forward)) > 2:
                yield fault(path, f'train.{name}', f'{loss["type"]} takes {", ".join([*parameters_of(kind.forward)][1:])}; '
                                                   f'{options["model_type"]} has an output and its ground truth')


def model_faults(path: str | os.PathLike, options: dict[str, Any]) -> Iterator[str]:
    """What BasicSR's own model classes need and do not ask for by a sentence."""
    from basicsr.models.realesrgan_model import RealESRGANModel
    from basicsr.models.realesrnet_model import RealESRNetModel
    from basicsr.models.sr_model import SRModel
    from basicsr.models.srgan_model import SRGANModel
    from basicsr.models.swinir_model import SwinIRModel
    from basicsr.utils.registry import MODEL_REGISTRY
    name = options['model_type']
    model = registered(MODEL_REGISTRY).get(name)
    data = options['datasets'].get('train', {})
    if data.get('type') == 'RealESRGANDataset':
        yield from (fault(path, f'datasets.train.{key}', 'is required by RealESRGANDataset') for key in _BLURS if key not in data)
        if name in OWN_MODELS:
            yield fault(path, 'datasets.train.type', 'RealESRGANDataset leaves LR images to RealESRNetModel and RealESRGANModel: '
                                                     'set one of them as model_type')
    if name in OWN_MODELS or not inspect.isclass(model) or not issubclass(model, SRModel):
        return
    for kind, sharpened in ((RealESRNetModel, ('gt_usm',)), (RealESRGANModel, ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'))):
        if issubclass(model, kind) and 'train' in options and options.get('high_order_degradation', True):
            wanted = (*_DEGRADATIONS, *sharpened)
            yield from (fault(path, key, f'is required by {name}') for key in wanted if key not in options)
    if issubclass(model, SwinIRModel) and not isinstance(options['network_g'].get('window_size'), int):
        yield fault(path, 'network_g.window_size', f'{name} reads it, to pad images to multiples of it: it must be given')
    if 'train' not in options:
        if not options['path'].get('pretrain_network_g'):
            yield fault(path, 'path.pretrain_network_g', 'is required: a test needs a checkpoint')
    elif issubclass(model, SRGANModel):
        for section, key in ((options, 'network_d'), (options['train'], 'optim_d'), (options['train'], 'gan_opt')):
            if key not in section:
                yield fault(path, key if section is options else f'train.{key}', f'is required by {name}')
        critic, size = options.get('network_d', {}), options.get('gt_size', data.get('gt_size'))
        if critic.get('type') == 'VGGStyleDiscriminator' and critic.get('input_size', 128) != size:
            yield fault(path, 'network_d.input_size', f'{critic.get("input_size", 128)} is not the gt_size, {size}: '
                                                      f'VGGStyleDiscriminator takes patches of 128 or 256 alone')
