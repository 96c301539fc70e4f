"""Out of memory: a sentence that names what to lower."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from tests.conftest import Finished
from tests.models.training_helpers import at_iterations
from vapsr_arch.errors import VapsrError
from vapsr_arch.models.out_of_memory import killed_workers_explained, memory_explained


def no_gpu_memory(losses: dict) -> dict:
    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB')


def no_memory(losses: dict) -> dict:
    return {'l_pix': torch.empty(2**50)}


@pytest.mark.parametrize('exhaust, device', [(no_gpu_memory, 'the GPU'), (no_memory, 'the machine')])
def test_training_without_memory(exhaust: Callable, device: str, train_options: Callable[..., str],
                                 vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    at_iterations(monkeypatch, [2], exhaust)
    result = vapsr('train', '-opt', train_options())
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        f'Error: {device} has not enough memory for training: lower batch_size_per_gpu (2) or gt_size (16), raise '
        'train.accumulate (1), or on a GPU set train.amp (off) to bf16')


def test_a_validation_image_too_large(test_options: Callable[..., str], vapsr: Callable[..., Finished],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    from vapsr_arch.models.vapsr_model import VapSRModel
    monkeypatch.setattr(VapSRModel, 'test', no_gpu_memory)
    result = vapsr('test', '-opt', test_options())
    assert result.code == 1 and 'the GPU has not enough memory for photos, 0: use a smaller image' in result.err


@pytest.mark.parametrize('error', [RuntimeError('DataLoader worker (pid 9) is killed'), ConnectionResetError('reset by peer')])
def test_a_worker_that_is_killed(error: Exception) -> None:
    words = r'a process that reads images was killed, .*\((DataLoader|reset)'
    with pytest.raises(VapsrError, match=words), killed_workers_explained():
        raise error


@pytest.mark.parametrize('explained', [memory_explained('a', 'b'), killed_workers_explained()])
def test_other_errors_are_left_alone(explained: AbstractContextManager) -> None:
    with pytest.raises(RuntimeError, match='another'), explained:
        raise RuntimeError('another')
