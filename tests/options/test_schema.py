"""The schema is strict where it knows the class, and open where it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests.conftest import SMALL_NETWORK, Finished
from vapsr_arch.errors import OptionsError
from vapsr_arch.models.vapsr_model import VapSRModel
from vapsr_arch.options.reading import load_options
from vapsr_arch.pipeline.checks import check_types, unchecked_keys


class OwnModel(VapSRModel):
    pass


class OwnDataset(Dataset):
    pass


class OwnLoss(nn.Module):
    def __init__(self, weight: float, power: int = 1, **more: float) -> None:
        super().__init__()

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean()


class OwnCritic(nn.Module):
    def forward(self, critic: nn.Module, output: Tensor, target: Tensor) -> Tensor:
        return critic(output).mean()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    classes = ((MODEL_REGISTRY, OwnModel), (DATASET_REGISTRY, OwnDataset), (LOSS_REGISTRY, OwnLoss), (LOSS_REGISTRY, OwnCritic))
    for registry, value in classes:
        registry.register(value)
    yield
    for registry, value in classes:
        del registry._obj_map[value.__name__]


def checked(path: str, **sections: Any) -> dict[str, Any]:
    """Reads an option file whose `train` has other sections, and checks it as a run does."""
    options = yaml.safe_load(Path(path).read_text())
    for key, value in sections.items():
        options['train'][key] = value
    Path(path).write_text(yaml.safe_dump(options))
    options = load_options(path, True)
    check_types(path, options)
    return options


def test_a_model_class_of_others_may_have_keys_of_its_own(train_options: Callable[..., str]) -> None:
    """Also one that looks like a key that is there: `scales` beside `scale`."""
    options = checked(train_options(model_type='OwnModel', scales=[2, 3], teacher={'depth': 2}, network_t=SMALL_NETWORK,
                                    train={'distill_from': 5, 'total_iters': 3, 'optim_t': {'type': 'SGD', 'lr': 0.1}},
                                    path={'pretrain_network_t': 'teacher.pth'}))
    assert options['teacher'] == {'depth': 2} and options['scales'] == [2, 3]
    assert list(unchecked_keys(options)) == [
        "not checked, being OwnModel's own: scales, teacher, train.distill_from, train.total_iters"]


@pytest.mark.parametrize('changes, words', [
    ({'model_type': 'OwnModel', 'train': {'ema_decay': None, 'ema_deccay': 0.9}}, "did you mean 'ema_decay'?"),
    ({'model_type': 'OwnModel', 'logger': {'print_frq': 1}}, "logger.print_frq: unknown key; did you mean 'print_freq'?"),
    ({'model_type': 'OwnModel', 'manual_sed': 1, 'manual_seed': None}, "manual_sed: unknown key; did you mean 'manual_seed'?"),
    ({'teacher': {'depth': 2}}, 'teacher: unknown key; known: '),
    ({'train': {'optim_d': {'type': 'Adam'}}}, "train.optim_d: unknown key; did you mean 'optim_g'?"),
    ({'datasets': {'train': {'type': 'OwnDataset', 'batch_size_per_gpu': 'two'}}},
     'datasets.train.batch_size_per_gpu: Input should be a valid integer'),
    ({'datasets': {'train': {'type': 'OwnDatset'}}},
     "datasets.train.type: OwnDatset is not registered; did you mean 'OwnDataset'?"),
    ({'train': {'own_opt': {'type': 'OwnLoss'}}}, 'train.own_opt.weight: is required'),
    ({'train': {'own_opt': 0.5}}, 'train.own_opt: must be a section with a type, not 0.5'),
    ({'train': {'own_opt': {'type': 'OwnCritic'}}},
     'train.own_opt: OwnCritic takes critic, output, target; VapSRModel has an output and its ground truth'),
    ({'train': {'pixel_opt': {'reduction': 'none'}}}, 'train.pixel_opt.reduction: none gives no single number: set mean or sum'),
    ({'dist_params': {'backend': 'mpi'}}, "dist_params.backend: Input should be 'nccl' or 'gloo', not 'mpi'"),
    ({'val': {'tile': 0}}, 'val.tile: Input should be greater than or equal to 1, not 0'),
    ({'val': {'self_ensembel': True}}, "val.self_ensembel: unknown key; did you mean 'self_ensemble'?"),
])
def test_faults(changes: dict, words: str, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(**changes))
    assert result.code == 2 and words in result.err


def test_a_data_set_of_others_takes_anything(train_options: Callable[..., str]) -> None:
    """Values that ours may not have, and what is empty."""
    own = {'type': 'OwnDataset', 'color': 'rgb', 'gt_size': [15, 15], 'io_backend': {'type': 'petrel'}, 'meta_info': None,
           'mean': 0.5, 'use_hflp': True, 'prefetch_mode': None}
    options = checked(train_options(datasets={'train': own}))
    assert options['datasets']['train'].items() >= {key: value for key, value in own.items() if key != 'prefetch_mode'}.items()
    assert 'prefetch_mode' not in options['datasets']['train']
    said, = unchecked_keys(options)
    assert said.startswith("datasets.train: not checked, being OwnDataset's own: color, ") and said.endswith(', use_rot')


def test_losses_by_any_key(train_options: Callable[..., str]) -> None:
    losses = {'own_opt': {'type': 'OwnLoss', 'weight': 2, 'anything': 1}, 'second_opt': {'type': 'MSELoss'},
              'smooth_opt': {'type': 'WeightedTVLoss'}}
    assert checked(train_options(), **losses)['train'].items() >= losses.items()


@pytest.mark.parametrize('sections, words', [
    ({'optim_g': {'type': 'SGD', 'lr': 0.1, 'momentun': 0.9}}, "train.optim_g.momentun: unknown key; did you mean 'momentum'?"),
    ({'optim_g': {'type': 'SGD', 'lr': 0.1, 'nesterov': True}}, 'train.optim_g: Nesterov momentum requires a momentum and zero'),
    ({'optim_g': {'type': 'RMSprop', 'lr': -1.0}}, 'train.optim_g: Invalid learning rate: -1.0'),
    ({'optim_g': {'type': 'RMSprp'}}, "train.optim_g.type: RMSprp is not registered; did you mean 'RMSprop'?"),
    ({'optim_g': {'type': 'LBFGS'}}, 'train.optim_g.type: LBFGS is not registered'),
    ({'scheduler': {'type': 'OneCycleLR', 'max_lr': 0.1}}, 'train.scheduler: You must define either total_steps OR'),
    ({'scheduler': {'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': 2}}, 'scheduler.total_steps: 2, less than total_iter 3'),
    ({'scheduler': {'type': 'StepLR', 'step': 2}}, "train.scheduler.step: unknown key; did you mean 'step_size'?"),
    ({'scheduler': {'type': 'StepLR'}}, 'train.scheduler.step_size: is required'),
    ({'scheduler': {'type': 'LambdaLR'}}, 'train.scheduler.type: LambdaLR is not registered'),
    ({'scheduler': {'type': 'CosineAnealingLR', 'T_max': 3}}, "is not registered; did you mean 'CosineAnnealingLR'?"),
    ({'scheduler': {'type': 'CyclicLR', 'base_lr': 0.1, 'max_lr': 1.0}, 'optim_g': {'type': 'Adadelta'}},
     'train.scheduler: optimizer must support momentum'),
])
def test_optimizers_and_schedules_that_do_not_work(sections: dict, words: str, train_options: Callable[..., str]) -> None:
    with pytest.raises(OptionsError) as error:
        checked(train_options(), **sections)
    assert words in str(error.value)


@pytest.mark.parametrize('backend', ['nccl', 'gloo'])
def test_both_backends_may_be_named(backend: str, train_options: Callable[..., str]) -> None:
    assert checked(train_options(dist_params={'backend': backend}))['dist_params'] == {'backend': backend}


