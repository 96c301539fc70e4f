"""The option files of the networks that VapSR is compared with: the same conditions as VapSR's, and networks that build."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vapsr_arch.archs import AUTHORS_NAMES, NETWORKS
from vapsr_arch.archs.roadmap_arch import STEPS
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.yaml_files import read_yaml
from vapsr_arch.pipeline.checks import check_types
from vapsr_arch.pipeline.registration import register

OPTIONS = Path(__file__).parents[2] / 'options'

# Folder, name, VapSR's variant for comparison, checkpoints by scale.
RIVALS = [
    ('IMDN', 'IMDN', 'VapSR', {2: 'IMDN_x2', 3: 'IMDN_x3', 4: 'IMDN_x4'}),
    ('RFDN', 'RFDN', 'VapSR', {4: 'RFDN_AIM'}),
    ('BSRN', 'BSRN', 'VapSR', {2: 'BSRN_x2', 3: 'BSRN_x3', 4: 'BSRN_x4'}),
    ('BSRN', 'BSRN-S', 'VapSR-S', {4: 'BSRN-S'}),
    ('PAN', 'PAN', 'VapSR', {2: 'PANx2_DF2K', 3: 'PANx3_DF2K', 4: 'PANx4_DF2K'}),
]
TRAIN = [(f'train/{folder}/train_{name}_x{scale}_DF2K.yml', f'train/VapSR/train_{vapsr}_x{scale}_DF2K.yml')
         for folder, name, vapsr, checkpoints in RIVALS for scale in checkpoints]
TEST = [(f'test/{folder}/test_{name}_x{scale}.yml', f'test/VapSR/test_{vapsr}_x{scale}.yml', checkpoint)
        for folder, name, vapsr, checkpoints in RIVALS for scale, checkpoint in checkpoints.items()]
ROADMAP = [f'train/roadmap/train_roadmap-{step}_x4_BSDS400.yml' for step in STEPS]


def without(options: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in keys}


@pytest.mark.parametrize(('rival', 'vapsr'), TRAIN)
def test_training_differs_from_vapsrs_in_the_network_alone(rival: str, vapsr: str) -> None:
    ours, theirs = (read_yaml(OPTIONS / path) for path in (rival, vapsr))
    assert without(ours, 'name', 'network_g') == without(theirs, 'name', 'network_g')
    assert ours['name'] == Path(rival).stem.removeprefix('train_')


@pytest.mark.parametrize(('rival', 'vapsr', 'checkpoint'), TEST)
def test_test_differs_from_vapsrs_in_the_network_alone(rival: str, vapsr: str, checkpoint: str) -> None:
    ours, theirs = (read_yaml(OPTIONS / path) for path in (rival, vapsr))
    assert without(ours, 'name', 'network_g', 'path') == without(theirs, 'name', 'network_g', 'path')
    assert without(ours['path'], 'pretrain_network_g') == without(theirs['path'], 'pretrain_network_g')
    assert ours['path']['pretrain_network_g'] == f'experiments/pretrained_models/{checkpoint}.pth'
    assert ours['name'] == Path(rival).stem


@pytest.mark.parametrize('path', ROADMAP[1:])
def test_steps_of_the_roadmap_differ_in_the_step_alone(path: str) -> None:
    first, other = (read_yaml(OPTIONS / file) for file in (ROADMAP[0], path))
    assert without(other, 'name', 'network_g') == without(first, 'name', 'network_g')
    assert without(other['network_g'], 'step') == without(first['network_g'], 'step')


@pytest.mark.parametrize('path', [*(row[0] for row in TRAIN), *(row[0] for row in TEST), *ROADMAP])
def test_option_file_is_valid_and_names_the_published_network(path: str) -> None:
    register()
    options = load_options(OPTIONS / path, is_train=path.startswith('train'))
    check_types(OPTIONS / path, options)
    arguments = options['network_g']
    name = arguments.pop('type')
    network = NETWORKS[AUTHORS_NAMES.get(name, name)]
    variable = {key: arguments[key] for key in ('scale', 'upscale', 'step') if key in arguments}
    with torch.device('meta'):
        shapes, published = ({key: tensor.shape for key, tensor in network(**chosen).state_dict().items()}
                             for chosen in (arguments, variable))
    assert shapes == published


def test_every_option_file_of_a_rival_is_checked() -> None:
    folders = {folder for folder, *_ in RIVALS} | {'roadmap'}
    found = {str(path.relative_to(OPTIONS)) for path in OPTIONS.glob('t*/*/*.yml') if path.parent.name in folders}
    assert found == {*(row[0] for row in TRAIN), *(row[0] for row in TEST), *ROADMAP}
