"""BasicSR's own model classes through the option files and commands of this package, on a CPU."""

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import torchvision
import yaml
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.utils.registry import DATASET_REGISTRY
from torch import nn

from tests.conftest import REPOSITORY, SMALL_NETWORK, Finished, photograph

RUN = Path('experiments/small')
ADAM = {'type': 'Adam', 'lr': 1e-4}
SWINIR = {'type': 'SwinIR', 'upscale': 2, 'img_size': 8, 'window_size': 4, 'depths': [1], 'embed_dim': 4, 'num_heads': [1],
          'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
GAN = {'optim_d': ADAM, 'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.005}}
KERNELS = ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
DEGRADATIONS = {
    'resize_prob': [0.2, 0.7, 0.1], 'resize_range': [0.15, 1.5], 'gaussian_noise_prob': 0.5, 'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3], 'gray_noise_prob': 0.4, 'jpeg_range': [30, 95], 'second_blur_prob': 0.8,
    'resize_prob2': [0.3, 0.4, 0.3], 'resize_range2': [0.3, 1.2], 'gaussian_noise_prob2': 0.5, 'noise_range2': [1, 25],
    'poisson_scale_range2': [0.05, 2.5], 'gray_noise_prob2': 0.4, 'jpeg_range2': [30, 95], 'gt_size': 32, 'queue_size': 8}
REAL_DATA = {
    'type': 'SmallRealESRGANDataset', 'meta_info': 'meta.txt', 'dataroot_lq': None, 'batch_size_per_gpu': 1,
    'kernel_list': KERNELS, 'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], 'blur_kernel_size': 21, 'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3], 'betag_range': [0.5, 4], 'betap_range': [1, 2],
    'kernel_list2': KERNELS, 'kernel_prob2': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], 'blur_kernel_size2': 21, 'sinc_prob2': 0.1,
    'blur_sigma2': [0.2, 1.5], 'betag_range2': [0.5, 4], 'betap_range2': [1, 2], 'final_sinc_prob': 0.8}


class SmallRealESRGANDataset(RealESRGANDataset):
    """BasicSR's, whose patches have 400 pixels a side, with smaller ones."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        return sample | {'gt': sample['gt'][:, :80, :80]}


@pytest.fixture(autouse=True)
def small_dataset() -> None:
    if 'SmallRealESRGANDataset' not in DATASET_REGISTRY:
        DATASET_REGISTRY.register(SmallRealESRGANDataset)


MODELS = {
    'SwinIRModel': {'network_g': SWINIR},
    'SRGANModel': {'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 2, 'input_size': 128},
                   'train': GAN, 'datasets': {'train': {'gt_size': 128, 'dataroot_gt': 'large/HR', 'dataroot_lq': 'large/LR',
                                                        'batch_size_per_gpu': 1}}},
    'ESRGANModel': {'network_d': UNET, 'train': GAN},
    'RealESRNetModel': {**DEGRADATIONS, 'gt_usm': True, 'datasets': {'train': REAL_DATA}},
    'RealESRGANModel': {**DEGRADATIONS, 'l1_gt_usm': True, 'percep_gt_usm': True, 'gan_gt_usm': False, 'network_d': UNET,
                        'train': GAN, 'datasets': {'train': REAL_DATA}},
}


@pytest.fixture
def stock(train_options: Callable[..., str]) -> Callable[..., str]:
    """Writes the option file of one of `MODELS`, with its images."""
    def write(model: str, **train: Any) -> str:
        Path('meta.txt').write_text(''.join(f'{path.name} (48,48,3)\n' for path in Path('datasets/photos/HR').iterdir()))
        for folder, size in (('HR', 128), ('LR', 64)):
            Path('large', folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f'large/{folder}/0.png', photograph(size, size, 0))
        changes = MODELS[model]
        return with_network(model, train_options(
            model_type=model, **{**changes, 'train': {**changes.get('train', {}), **train}}, val={'val_freq': 10},
            logger={'print_freq': 5, 'save_checkpoint_freq': 10}))
    return write


def with_network(model: str, path: str) -> str:
    """Puts the network of a model in the place of VapSR in an option file."""
    options = yaml.safe_load(Path(path).read_text())
    options['network_g'] = MODELS[model].get('network_g', SMALL_NETWORK)
    Path(path).write_text(yaml.safe_dump(options))
    return path


@pytest.mark.parametrize('model', MODELS)
def test_twenty_iterations_and_a_test(model: str, stock: Callable[..., str], test_options: Callable[..., str],
                                      vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', stock(model, total_iter=20))
    assert result.code == 0, result.err
    assert 'iter 20/20, ' in result.err and '# psnr: ' in result.err
    assert result.err.count(f'{model} is not a VapSRModel: no guard against NaN') == 1
    tested = vapsr('test', '-opt', with_network(model, test_options(
        model_type=model, path={'pretrain_network_g': str(RUN / 'models/net_g_latest.pth')})))
    assert tested.code == 0, tested.err
    assert '# psnr: ' in tested.err


@pytest.mark.parametrize('model', ['SwinIRModel', 'ESRGANModel'])
def test_states_of_basicsrs_models_are_resumed(model: str, stock: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', stock(model, total_iter=10))
    result = vapsr('train', '-opt', stock(model, total_iter=12), '--auto_resume')
    assert result.code == 0, result.err
    assert 'Resuming training from epoch: 4, iter: 10.' in result.err and 'Save the latest model' in result.err
    loaded = [line.rpartition('/')[2] for line in result.err.splitlines() if 'all tensors loaded' in line]
    further = ['net_d_10.pth, key params'] if model == 'ESRGANModel' else []
    assert loaded == ['net_g_10.pth, key params', 'net_g_10.pth, key params_ema', *further]
    assert result.err.count('is not a VapSRModel') == 1


def test_a_state_of_fewer_optimizers_is_refused_before_anything_is_written(stock: Callable[..., str],
                                                                           vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', stock('ESRGANModel', total_iter=2), '--force_yml', 'logger:save_checkpoint_freq=2')
    state = torch.load(RUN / 'training_states/2.state', weights_only=False)
    torch.save(state | {'optimizers': state['optimizers'][:1]}, RUN / 'training_states/2.state')
    before = {path: path.stat().st_mtime_ns for path in Path('experiments').rglob('*')}
    result = vapsr('train', '-opt', stock('ESRGANModel', total_iter=4), '--auto_resume')
    assert result.code == 1 and 'Error: the training state of iteration 2 does not fit the options' in result.err
    assert {path: path.stat().st_mtime_ns for path in Path('experiments').rglob('*')} == before


def test_what_a_model_class_lacks_is_logged_once(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(
        model_type='ESRGANModel', network_d=UNET, train={**GAN, 'amp': 'bf16', 'total_iter': 1}, logger={'keep_last': 2},
        val={'self_ensemble': True}))
    assert result.code == 0, result.err
    warning, = [line for line in result.err.splitlines() if 'WARNING' in line]
    assert warning.endswith('ESRGANModel is not a VapSRModel: no guard against NaN, no best checkpoint; a signal ends it without '
                            'saving; a resumed run begins its epoch again, with other random numbers. It may not read '
                            'train.amp, val.self_ensemble, logger.keep_last')


@pytest.mark.parametrize('changes, words', [
    ({'model_type': 'SwinIRModel'}, 'network_g.window_size: SwinIRModel reads it, to pad images to multiples of it'),
    ({'model_type': 'ESRGANModel'}, 'network_d: is required by ESRGANModel'),
    ({'model_type': 'ESRGANModel'}, 'train.optim_d: is required by ESRGANModel'),
    ({'model_type': 'SRGANModel', 'network_d': {**UNET, 'num_feats': 3}},
     "network_d.num_feats: unknown key; did you mean 'num_feat'?"),
    ({'model_type': 'SRGANModel', 'network_d': {'num_feat': 3}}, 'network_d: must be a section with a type, not'),
    ({'model_type': 'SRGANModel', 'train': {'gan_opt': {'type': 'GANLoss'}}}, 'train.gan_opt.gan_type: is required'),
    ({'model_type': 'SRGANModel', 'train': GAN, 'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4}},
     'network_d.input_size: 128 is not the gt_size, 16: VGGStyleDiscriminator takes patches of 128 or 256 alone'),
    ({'model_type': 'SRGANModel', 'train': GAN,
      'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 16}},
     'network_d: input size must be 128 or 256, but received 16'),
    ({'model_type': 'RealESRNetModel', **DEGRADATIONS, 'noise_range2': None}, 'noise_range2: is required by RealESRNetModel'),
    ({'datasets': {'train': {**REAL_DATA, 'type': 'RealESRGANDataset'}}},
     'datasets.train.type: RealESRGANDataset leaves LR images to RealESRNetModel and RealESRGANModel'),
    ({'datasets': {'train': {'type': 'RealESRGANDataset'}}}, 'datasets.train.kernel_list: is required by RealESRGANDataset'),
    ({'train': {'gan_opt': GAN['gan_opt']}}, 'train.gan_opt: GANLoss needs a discriminator, which VapSRModel does not train: set '
                                             'model_type: ESRGANModel or SRGANModel, with network_d and optim_d'),
])
def test_faults_of_option_files(changes: dict, words: str, train_options: Callable[..., str],
                                vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(**changes))
    assert result.code == 2 and words in result.err
    assert not Path('experiments').exists()


def test_a_dry_run(stock: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', stock('ESRGANModel'), '--dry-run')
    assert result.code == 0 and 'The dry run went through' in result.out
    assert not Path('experiments').exists()


def test_a_test_of_a_random_network_is_refused(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options(model_type='ESRGANModel', path={'pretrain_network_g': None}))
    assert result.code == 2 and 'path.pretrain_network_g: is required: a test needs a checkpoint' in result.err


def test_a_pool_that_batches_do_not_fill(stock: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', stock('RealESRNetModel', total_iter=1), '--force_yml', 'queue_size=3',
                   'datasets:train:batch_size_per_gpu=2')
    assert result.code == 1 and 'Error: queue_size: 3 is not a multiple of the batch size 2' in result.err


PERCEPTUAL = {'perceptual_opt': {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 0.1, 'conv5_4': 1}, 'style_weight': 1}}
GENERATORS = {'VapSRModel': {'train': PERCEPTUAL}, 'ESRGANModel': {'network_d': UNET, 'train': {**GAN, **PERCEPTUAL}}}


def small_vgg(name: str, **_: Any) -> nn.Module:
    """VGG19 with few features."""
    layers: list[nn.Module] = []
    width = 3
    for number in (2, 2, 4, 4, 4):
        for _number in range(number):
            layers += [nn.Conv2d(width, 2, 3, padding=1), nn.ReLU(inplace=True)]
            width = 2
        layers.append(nn.MaxPool2d(2))
    network = nn.Module()
    network.features = nn.Sequential(*layers)
    return network


@pytest.mark.parametrize('model', GENERATORS)
def test_vgg_weights_that_cannot_be_downloaded(model: str, train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """An older folder of the run stays where it is."""
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise urllib.error.URLError('no route to host')
    monkeypatch.setattr('torch.hub.urlopen', refuse)
    monkeypatch.setenv('TORCH_HOME', 'cache')
    monkeypatch.setattr(torchvision.models, 'get_model', small_vgg)
    (RUN / 'models').mkdir(parents=True)
    result = vapsr('train', '-opt', train_options(model_type=model, **GENERATORS[model]))
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        'Error: a loss needs the weights vgg19-dcbb9e9d.pth, and https://download.pytorch.org/models/vgg19-dcbb9e9d.pth cannot '
        'be downloaded (<urlopen error no route to host>): download it elsewhere, and put it into experiments/pretrained_models/')
    assert [path.name for path in Path('experiments').iterdir()] == ['small']


@pytest.mark.parametrize('model', GENERATORS)
def test_vgg_weights_from_a_file(model: str, train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.models, 'get_model', small_vgg)
    path = Path('experiments/pretrained_models/vgg19-dcbb9e9d.pth')
    path.parent.mkdir(parents=True)
    torch.save(small_vgg('vgg19').state_dict(), path)
    result = vapsr('train', '-opt', train_options(model_type=model, **GENERATORS[model]))
    assert result.code == 0, result.err
    assert f'all tensors loaded from {path}' in result.err
    line = next(line for line in result.err.splitlines() if 'iter 3/3, ' in line)
    assert 'percep' in line and 'style' in line


TEMPLATES = Path(REPOSITORY, 'options/train/VapSR')


@pytest.mark.parametrize('name', ['GAN', 'RealESRNet'])
def test_templates_train(name: str, stock: Callable[..., str], vapsr: Callable[..., Finished],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, but for the images, the sizes of networks and batches, and the weights to begin with."""
    monkeypatch.setattr(torchvision.models, 'get_model', small_vgg)
    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', lambda *arguments, **keywords: small_vgg('vgg19').state_dict())
    stock('SRGANModel')
    options = yaml.safe_load((TEMPLATES / f'train_VapSR_x4_{name}.yml').read_text())
    for phase, dataset in options['datasets'].items():
        small = phase == 'train' and name == 'RealESRNet'
        dataset |= {'dataroot_gt': 'datasets/photos/HR' if small else 'large/HR', 'io_backend': {'type': 'disk'}}
        dataset |= {'meta_info': 'meta.txt', 'type': 'SmallRealESRGANDataset'} if small else {'dataroot_lq': 'large/LR'}
    options['datasets']['train'] |= {'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
    options['network_g'] |= {'num_feat': 8, 'num_block': 1, 'd_atten': 8}
    if name == 'GAN':
        options['network_d']['num_feat'] = 2
    else:
        options['gt_size'] = 64
    options |= {'path': {}, 'num_gpu': 0}
    options['train']['total_iter'] = options['logger']['print_freq'] = 1
    options['logger']['use_tb_logger'] = False
    Path('template.yml').write_text(yaml.safe_dump(options))
    image = cv2.imread('large/HR/0.png')
    cv2.imwrite('large/LR/0.png', image[::4, ::4])
    result = vapsr('train', '-opt', 'template.yml')
    assert result.code == 0, result.err
    assert 'iter 1/1, l_' in result.err and '# psnr' in result.err
