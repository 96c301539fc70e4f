"""What is seen of a run, what its log file has; Weights & Biases, by a module that takes its place and notes what it is asked."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, Finished, photograph
from vapsr_arch.archs import NETWORKS
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.options.yaml_files import read_yaml

STAMP = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ')
RUNS = [('train', 'demo/train_VapSR-S_x4', '154,956 parameters, 8.99 G multi-adds for an output of 1280x720'),
        ('train', 'train/VapSR/train_VapSR_x4_DF2K', '342,220 parameters, 19.52 G multi-adds for an output of 1280x720'),
        ('test', 'demo/test_VapSR-S_x4', '154,956 parameters, 8.99 G multi-adds for an output of 1280x720'),
        ('test', 'test/VapSR/test_VapSR_x4', '342,220 parameters, 19.52 G multi-adds for an output of 1280x720')]


def small(path: Path, folder: Path) -> dict[str, Any]:
    """An option file of this repository, for one iteration on two small images."""
    for index in range(2):
        hr = photograph(32, 32, index)
        for name, image in (('HR', hr), ('LR', imresize(hr, 1 / 4))):
            file = folder / 'few' / name / f'{index}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), image)
    options = read_yaml(path)
    for phase, dataset in options['datasets'].items():
        dataset |= {'dataroot_gt': 'few/HR', 'dataroot_lq': 'few/LR', 'io_backend': {'type': 'disk'}}
        if phase == 'train':
            dataset |= {'gt_size': 32, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 1}
    if 'train' in options:
        options['train']['total_iter'] = options['logger']['print_freq'] = 1
    if options['path'].get('pretrain_network_g'):
        arguments = {key: value for key, value in options['network_g'].items() if key != 'type'}
        torch.save({'params_ema': NETWORKS['VapSR'](**arguments).state_dict()}, folder / 'net.pth')
        options['path']['pretrain_network_g'] = 'net.pth'
    return options


@pytest.mark.parametrize('command, path, network', RUNS, ids=[path for _, path, _ in RUNS])
def test_a_run_is_read_at_a_glance(command: str, path: str, network: str, workspace: Path, vapsr: Callable[..., Finished]
                                   ) -> None:
    """The whole of a short one takes a screen, says nothing twice, and all of it and the details are in the log file."""
    options = small(REPOSITORY / f'options/{path}.yml', workspace)
    if command == 'train':
        options['network_g']['type'] = 'vapsr'  # the authors' name
    Path('options.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    result = vapsr(command, '-opt', 'options.yml')
    assert result.code == 0 and not result.out, result
    lines = [STAMP.sub('', line) for line in result.err.splitlines()]
    start = next(number for number, line in enumerate(lines) if 'Start training' in line or 'Testing ' in line)
    assert start < 25 and len(lines) <= 40, result.err
    messages = [line for line in lines if not line.startswith('\t')]  # figures are the same here: so are the images
    assert len(set(messages)) == len(messages), result.err
    assert f'INFO: Network VapSR: {network}' in lines
    log, = Path('experiments' if command == 'train' else 'results', options['name']).glob('*.log')
    assert lines[start - 1].endswith(f'; all of them are in the log: {log.resolve()}') or command == 'test'
    logged = log.read_text()
    assert {*lines} <= {STAMP.sub('', line) for line in logged.splitlines()}
    assert '(conv_first): Conv2d(3, ' in logged and 'dataroot_lq: few/LR\n' in logged



WANDB = """
import json

class Error(Exception):
    pass

class Run:
    id = 'abc'

def init(**arguments):
    if arguments['project'] == 'refused':
        raise Error('api_key not configured')
    json.dump(arguments, open('wandb.json', 'w'))
    return Run()
"""


@pytest.fixture
def wandb(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where it notes the arguments of its `init`."""
    (workspace / 'site').mkdir()
    (workspace / 'site/wandb.py').write_text(WANDB)
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    monkeypatch.syspath_prepend(workspace / 'site')
    yield workspace / 'wandb.json'
    sys.modules.pop('wandb', None)


@pytest.mark.parametrize('resume_id, resume', [(None, None), ('xyz', 'allow')])
def test_wandb_follows_the_curves(resume_id: str | None, resume: str | None, wandb: Path, train_options: Callable[..., str],
                                  vapsr: Callable[..., Finished]) -> None:
    logger = {'use_tb_logger': True, 'wandb': {'project': 'sr', 'resume_id': resume_id}}
    result = vapsr('train', '-opt', train_options(logger=logger))
    assert result.code == 0 and 'wandb: project sr, id abc' in result.err
    asked = json.loads(wandb.read_text())
    assert asked.pop('config')['train']['total_iter'] == 3
    assert asked == {'project': 'sr', 'entity': None, 'id': resume_id, 'resume': resume, 'name': 'small',
                     'sync_tensorboard': True}


def test_wandb_leaves_debugging_alone(wandb: Path, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = train_options(logger={'use_tb_logger': True, 'wandb': {'project': 'sr'}})
    assert vapsr('train', '-opt', options, '--debug').code == 0 and not wandb.exists()


@pytest.mark.parametrize('logger, code, words', [
    ({'use_tb_logger': True, 'wandb': {'project': 'refused'}}, 1,
     'logger.wandb: api_key not configured; WANDB_MODE=offline needs no server'),
    ({'wandb': {'project': 'sr'}}, 2, 'set logger.use_tb_logger: true')])
def test_wandb_that_cannot_be_begun(logger: dict, code: int, words: str, wandb: Path, train_options: Callable[..., str],
                                    vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(logger=logger))
    assert result.code == code and words in result.err.splitlines()[-1]
    assert not Path('experiments').exists() and not Path('tb_logger').exists()


def test_wandb_that_is_not_installed(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'wandb', None)
    result = vapsr('train', '-opt', train_options(logger={'use_tb_logger': True, 'wandb': {'project': 'sr'}}))
    assert result.code == 2 and '`pip install wandb`' in result.err.splitlines()[-1]
