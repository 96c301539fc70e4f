"""How many GPUs a run uses: one without a launcher; each of several has a process."""

from collections.abc import Callable

import pytest
import torch

from tests.conftest import Finished
from vapsr_arch.pipeline.run import Run


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)


@pytest.mark.parametrize('launcher, number', [('none', 1), ('pytorch', 2)])
def test_auto(launcher: str, number: int, train_options: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('vapsr_arch.pipeline.run.init_dist', lambda *arguments, **keywords: None)
    run = Run(train_options(num_gpu='auto'), True, launcher=launcher)
    assert run.begin('.')['num_gpu'] == number


def test_several_without_a_launcher_are_refused(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    """DataParallel trains fp16 in place of bf16, and breaks compile."""
    result = vapsr('train', '-opt', train_options(num_gpu=2))
    assert result.code == 2
    assert result.err == ('Error: train.yml: num_gpu: 2 GPUs take a process each: start with `torchrun --nproc_per_node=2 -m '
                          'vapsr_arch.train -opt train.yml --launcher pytorch`, or set num_gpu: auto for one\n')


def test_more_than_there_are(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(num_gpu=3))
    assert result.code == 2 and 'num_gpu: 3 asked for, but torch finds 2 CUDA GPUs here' in result.err
