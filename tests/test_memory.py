"""Which errors say that memory ran out, whoever raises them; and what does without Linux's modules."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.inference.export_helpers import save
from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import CLEAR_REFS, is_of_a_gpu, is_out_of_memory, peak_growth

OF_A_GPU = [
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 11.90 GiB'),
    RuntimeError('CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call'),
    RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
    RuntimeError('cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED'),
    RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'),
    RuntimeError('HIP out of memory. Tried to allocate 2.00 GiB'),
    RuntimeError('MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)'),
]
OF_THE_MACHINE = [
    MemoryError(),
    MemoryError('there is not enough memory for the fused attention block'),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError('[enforce fail at alloc_cpu.cpp:79] data. DefaultCPUAllocator: not enough memory: you tried ...'),
    RuntimeError('std::bad_alloc'),
    RuntimeError('Exception from src/inference/src/cpp/infer_request.cpp:224: could not allocate memory'),
    RuntimeError('[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc:376 Failed to allocate memory for requested buffer'),
    OSError(12, 'Cannot allocate memory'),
]
OTHERS = [RuntimeError('CUDA error: an illegal memory access was encountered'),
          RuntimeError('cuDNN error: CUDNN_STATUS_BAD_PARAM'),
          ValueError('the input must be'), VapsrError('there is not enough memory for the whole image')]


@pytest.mark.parametrize('error', [*OF_A_GPU, *OF_THE_MACHINE], ids=lambda error: f'{type(error).__name__}: {error}'[:60])
def test_want_of_memory_is_seen(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert is_of_a_gpu(error) == (error in OF_A_GPU)


@pytest.mark.parametrize('error', OTHERS, ids=str)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_what_torch_raises_is_seen() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert is_out_of_memory(error.value)


def test_upscaling_does_not_need_linux(tmp_path: Path) -> None:
    path, _ = save(tmp_path, 'VapSR-S')
    code = f"""
import sys
for name in ('fcntl', 'resource'):
    sys.modules[name] = None
import cv2, numpy
cv2.imwrite({str(tmp_path / 'a.png')!r}, numpy.full((16, 20, 3), 128, numpy.uint8))
import vapsr_arch.pipeline.run_lock
from vapsr_arch.cli import main
main(['upscale', {str(tmp_path / 'a.png')!r}, '--weights', {str(path)!r}, '-o', {str(tmp_path / 'b.png')!r}])
"""
    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=REPOSITORY)
    assert child.returncode == 0 and (tmp_path / 'b.png').is_file(), child.stderr


def test_the_peak_counts_what_the_c_library_keeps() -> None:
    """What was freed before is not at hand for what is measured."""
    if not CLEAR_REFS.exists():
        assert peak_growth(list) is None
        return
    size = 2**26
    torch.ones(size, dtype=torch.uint8)
    assert 0.9 * size < peak_growth(lambda: torch.ones(size, dtype=torch.uint8)) < 2 * size


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason='the system does not report peaks')
def test_the_peak_is_that_of_what_is_in_use() -> None:
    """Holes between pieces, which others do not fit into, are no need of what is measured. A fresh process has none yet."""
    code = """
import torch
from vapsr_arch.memory import keep_freed_memory, peak_growth

def run():
    pieces = [torch.ones(2**20, dtype=torch.uint8) for _ in range(32)]
    del pieces[::2]
    torch.ones(2**24 - 2**20, dtype=torch.uint8)

keep_freed_memory()
torch.ones(2**20, dtype=torch.uint8)  # which maps more of torch's library, the first time
print(*[peak_growth(run) for _ in range(3)])
"""
    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=REPOSITORY)
    peaks = [int(peak) / 2**25 for peak in child.stdout.split()]
    assert len(peaks) == 3 and all(0.95 < peak < 1.1 for peak in peaks), child
