"""The fused attention: what torch computes, in Triton's interpreter and on a GPU; a plain network elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.inference.triton_process import CASES
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines import triton_attention
from vapsr_arch.engines.triton_attention import FusedAttention, fuse_attention

LIMITS = {'float32': 1e-6, 'float16': 2e-3}


def small_network() -> VapSR:
    torch.manual_seed(0)
    return VapSR(num_feat=16, num_block=2, d_atten=24, scale=2).eval()


def test_the_kernels_compute_what_torch_does(triton: None) -> None:
    """All cases in one process: to import triton takes longer than to compute them."""
    result = subprocess.run([sys.executable, '-m', 'tests.inference.triton_process'], capture_output=True, text=True,
                            cwd=REPOSITORY, env=os.environ | {'TRITON_INTERPRET': '1'})
    assert result.returncode == 0, result.stderr
    errors = json.loads(result.stdout)
    assert errors.keys() == CASES.keys()
    assert not {case: error for case, error in errors.items() if not error < LIMITS[case.split()[0]]}


COMPILE = '''
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vapsr_arch.engines.triton_depthwise import BLOCK_X, NUM_WARPS, ROWS, _depthwise5x5 as kernel

def ptx(dilation, gated, dtype, capability):
    constants = dict(DILATION=dilation, GATED=gated, ROWS=ROWS, BLOCK_X=BLOCK_X, BLOCK_C=64, channel_stride=1)
    signature = {name: 'constexpr' if name in constants else f'*{dtype}' if name.endswith('ptr') else 'i32'
                 for name in kernel.arg_names}
    aligned = {(i,): [['tt.divisibility', 16]] for i, name in enumerate(kernel.arg_names)
               if name.endswith('ptr') or name in ('channels', 'tap_stride')}
    indices = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return triton.compile(ASTSource(kernel, signature, indices, aligned), target=GPUTarget('cuda', capability, 32),
                          options=dict(num_warps=NUM_WARPS)).asm['ptx']

print(json.dumps([ptx(*case) for case in CASES]))
'''
PTX_CASES = [(1, False, 'fp16', 80), (3, True, 'fp16', 90), (3, True, 'fp32', 80), (3, True, 'bf16', 90)]


@pytest.mark.usefixtures('triton')
def test_the_kernel_compiles_for_gpus(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, '-c', COMPILE.replace('CASES', repr(PTX_CASES))], capture_output=True, text=True,
                            cwd=REPOSITORY, env=os.environ | {'TRITON_CACHE_DIR': str(tmp_path)})
    assert result.returncode == 0, result.stderr
    for (_, _, dtype, capability), ptx in zip(PTX_CASES, json.loads(result.stdout)):
        assert f'.target sm_{capability}' in ptx
        # Four channels at once, and all in registers: neither shared memory nor waiting for other threads.
        assert f'ld.global.v{4 if dtype == "fp32" else 2}.b32' in ptx
        assert 'bar.sync' not in ptx and 'ld.shared' not in ptx


def test_a_copy_is_fused_and_keeps_its_weights() -> None:
    network = small_network()
    fused = fuse_attention(network)
    assert [type(module) for module in fused.modules()].count(FusedAttention) == 2
    assert not any(isinstance(module, FusedAttention) for module in network.modules())
    assert list(fused.state_dict()) == list(network.state_dict())
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in fused.state_dict().items())
    assert all(module.depthwise.weight.stride(0) == 1 for module in fused.half().modules()
               if isinstance(module, FusedAttention))


def test_on_a_cpu_and_in_training_it_is_as_before() -> None:
    network = small_network()
    fused = fuse_attention(network)
    image = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        assert torch.allclose(fused(image), network(image), atol=1e-6)
    for each in (network, fused):
        each(image).sum().backward()
    for name, parameter in fused.named_parameters():
        assert torch.allclose(parameter.grad, network.get_parameter(name).grad, rtol=1e-4, atol=1e-4), name


@pytest.mark.gpu
@pytest.mark.usefixtures('triton')
@pytest.mark.parametrize('dtype', triton_attention.TYPES, ids=str)
def test_on_a_gpu_it_gives_the_same_image(dtype: torch.dtype) -> None:
    network = small_network().to('cuda', dtype)
    fused = fuse_attention(network)
    for size in ((1, 1), (7, 5), (17, 33), (180, 320)):
        image = torch.rand(2, 3, *size, device='cuda', dtype=dtype)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            expected, result = network(image).float(), fused(image).float()
        limit = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}[dtype]
        assert (result - expected).abs().max() <= limit * expected.abs().max()


@pytest.mark.gpu
@pytest.mark.usefixtures('triton')
def test_on_a_gpu_the_kernels_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kernel = triton_attention.kernel()
    monkeypatch.setattr(triton_attention, 'kernel', lambda: lambda *a, **k: calls.append(a) or kernel(*a, **k))
    fused = fuse_attention(small_network().cuda())
    with torch.inference_mode():
        fused(torch.rand(1, 3, 8, 8, device='cuda'))
    assert len(calls) == 4
    fused(torch.rand(1, 3, 8, 8, device='cuda')).sum().backward()  # by torch
    assert len(calls) == 4
