"""The table of what is replaced in BasicSR, and its loops with the replacements: each test of them fails on BasicSR alone."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import basicsr
import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, Finished
from vapsr_arch.pipeline.patches import PATCHES, Patch

STATES = Path('experiments/small/training_states')


def trained_iterations(result: Finished) -> int:
    """Every iteration is logged."""
    assert result.code == 0, result.err
    return sum('l_pix' in line for line in result.err.splitlines())


def test_nothing_but_the_table_is_replaced_and_only_while_it_is_applied() -> None:
    result = subprocess.run([sys.executable, Path(__file__).with_name('table_process.py')], capture_output=True, text=True,
                            env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('patch', PATCHES, ids=lambda patch: f'{patch.owner} {patch.name}')
def test_the_table_says_where(patch: Patch) -> None:
    """The line defines or calls what is replaced; the test is there."""
    path, _, number = patch.where.partition(':')
    line = (Path(basicsr.__file__).parents[1] / path).read_text(encoding='utf-8').splitlines()[int(number) - 1]
    assert re.search(rf'(^|def |class |[ .=]){patch.name}( = |\(|$)', line) and patch.why
    tests = (path.read_text(encoding='utf-8') for path in (REPOSITORY / 'tests').rglob('test_*.py'))
    assert any(f'def {patch.test}(' in text for text in tests)


@pytest.mark.parametrize('batch, ratio, total', [(3, 1, 7), (3, 5, 20), (4, 1, 5), (2, 1, 4), (1, 1, 1)])
def test_exactly_total_iter_iterations(batch: int, ratio: int, total: int, train_options: Callable[..., str],
                                       vapsr: Callable[..., Finished]) -> None:
    options = train_options(train={'total_iter': total}, datasets={
        'train': {'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': ratio}})
    assert trained_iterations(vapsr('train', '-opt', options)) == total


def test_data_set_smaller_than_a_batch_is_refused_before_training(train_options: Callable[..., str],
                                                                  vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(datasets={'train': {'batch_size_per_gpu': 5}}))
    assert result.code == 1
    assert result.err.strip().splitlines()[-1] == (
        'Error: photos: 4 images with dataset_enlarge_ratio 1 do not fill one batch of 5 on each of 1 processes: raise '
        'dataset_enlarge_ratio or lower batch_size_per_gpu')
    assert not list(Path('experiments/small').rglob('*.pth'))


def test_auto_resume_continues_to_exactly_total_iter(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = train_options(train={'total_iter': 4}, datasets={'train': {'batch_size_per_gpu': 3}})
    vapsr('train', '-opt', options)
    (STATES / 'copy of 4.state').touch()  # a stray file
    options = train_options(train={'total_iter': 7}, datasets={'train': {'batch_size_per_gpu': 3}})
    result = vapsr('train', '-opt', options, '--auto_resume')
    assert trained_iterations(result) == 3
    assert 'copy of 4.state is skipped' in result.out
    assert 'Resuming training from epoch: 3, iter: 4' in result.err
    assert not list(Path('experiments').glob('small_archived*'))


def test_resumed_training_takes_the_network_and_not_the_ema(train_options: Callable[..., str],
                                                            vapsr: Callable[..., Finished]) -> None:
    vapsr('train', '-opt', train_options(train={'total_iter': 2}))
    result = vapsr('train', '-opt', train_options(train={'total_iter': 3}, path={'param_key_g': 'params_ema'}), '--auto_resume')
    loaded = [line for line in result.err.splitlines() if 'all tensors loaded' in line]
    assert loaded[0].endswith('net_g_2.pth, key params') and loaded[1].endswith('net_g_2.pth, key params_ema')


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'the training state cannot be read: No such file or directory'),
    (lambda path: path.write_bytes(b'half'), 'is not a training state of BasicSR, or is damaged'),
    (lambda path: torch.save({'epoch': 0, 'iter': 9, 'optimizers': [], 'schedulers': []}, path), 'net_g_9.pth, is missing'),
])
def test_states_that_cannot_be_resumed(make: Callable, words: str, train_options: Callable[..., str],
                                       vapsr: Callable[..., Finished], tmp_path: Path) -> None:
    make(tmp_path / 'a.state')
    result = vapsr('train', '-opt', train_options(path={'resume_state': 'a.state'}))
    assert result.code == 1 and words in result.err and 'Traceback' not in result.err


def test_debug_mode_prefixes_the_name(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    assert vapsr('train', '-opt', train_options(), '--debug').code == 0
    assert Path('experiments/debug_small/models/net_g_latest.pth').is_file()


@pytest.mark.parametrize('spelling', ['--local-rank', '--local_rank'])
def test_both_spellings_of_the_local_rank(spelling: str, test_options: Callable[..., str],
                                          vapsr: Callable[..., Finished]) -> None:
    assert vapsr('test', '-opt', test_options(), f'{spelling}=0').code == 0


def test_force_yml_takes_several_values(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options(), '--force_yml', 'name=other', 'val:save_img=true')
    assert result.code == 0
    assert len(list(Path('results/other/visualization/photos').iterdir())) == 4


def test_stock_class_names_are_replaced_and_logged(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', test_options(model_type='SRModel', network_g={'type': 'vapsr'}))
    assert result.code == 0
    assert 'SRModel is replaced by VapSRModel' in result.err
    assert 'Model [VapSRModel] is created' in result.err


@pytest.mark.parametrize('authors_first', [True, False])
def test_the_authors_module_may_be_imported_too(authors_first: bool, tmp_path: Path) -> None:
    module = ("from basicsr.utils.registry import ARCH_REGISTRY\n"
              "@ARCH_REGISTRY.register()\nclass vapsr: pass\n")
    (tmp_path / 'authors.py').write_text(module)
    load = 'import vapsr_arch.plugin'
    steps = ['import authors', load] if authors_first else [load, 'import authors']
    code = ['from vapsr_arch.basicsr_imports import make_basicsr_importable', 'make_basicsr_importable()', *steps,
            'from basicsr.utils.registry import ARCH_REGISTRY', 'assert ARCH_REGISTRY.get("vapsr") is authors.vapsr',
            'assert ARCH_REGISTRY.get("VapSR").__module__ == "vapsr_arch.archs.vapsr_arch"']
    subprocess.run([sys.executable, '-c', '\n'.join(code)], check=True, cwd=tmp_path)


def test_networks_of_basicsr_train_too(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    path = Path(train_options())
    options = yaml.safe_load(path.read_text())
    options['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 2}
    path.write_text(yaml.safe_dump(options))
    assert trained_iterations(vapsr('train', '-opt', str(path))) == 3


def test_training_through_tensorboard_and_a_cosine_schedule(train_options: Callable[..., str],
                                                            vapsr: Callable[..., Finished]) -> None:
    path = Path(train_options(logger={'use_tb_logger': True}))
    options = yaml.safe_load(path.read_text())
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [3], 'eta_min': 1e-7}
    path.write_text(yaml.safe_dump(options))
    assert trained_iterations(vapsr('train', '-opt', str(path))) == 3
    assert list(Path('tb_logger/small').iterdir())
