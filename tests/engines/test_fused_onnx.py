"""VapSR with fused blocks on OpenVINO and ONNX Runtime gives what the network gives, and reports when memory ends."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.inference.export_helpers import save
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines import fused_vab
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.inference.upscaler import Upscaler

pytest.importorskip('onnx')
from vapsr_arch.engines.fused_onnx import FusedOnnxEngine, fused_engine


@pytest.fixture(params=['openvino', 'onnxruntime'])
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def network() -> VapSR:
    if fused_vab.kernel(torch.float32) is None:
        pytest.skip('no C compiler')
    torch.manual_seed(0)
    network = VapSR(num_feat=32, num_block=2, d_atten=16, scale=2, conv_groups=2).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


@pytest.fixture
def weights(network: VapSR, tmp_path: Path) -> Path:
    torch.save({'params': network.state_dict()}, tmp_path / 'small.pth')
    return tmp_path / 'small.pth'


def test_it_is_what_load_engine_gives(weights: Path, network: VapSR, engine: str, tmp_path: Path) -> None:
    run = load_engine(weights, engine=engine)
    assert isinstance(run, FusedOnnxEngine)
    assert (run.scale, run.num_in_ch, run.min_size, run.halo) == (2, 3, 1, network.halo)
    unfit, _ = save(tmp_path, 'VapSR')  # of 8 channels
    assert not isinstance(load_engine(unfit, engine=engine), FusedOnnxEngine)


def test_outputs_are_those_of_the_network(network: VapSR, engine: str) -> None:
    run = fused_engine(network, 'fp32', engine)
    for batch, height, width in ((1, 1, 1), (2, 21, 8), (1, 9, 190), (1, 40, 40)):
        for x in (torch.rand(batch, 3, height, width), torch.rand(batch, height, width, 3).permute(0, 3, 1, 2),
                  torch.rand(batch, 1, height, width).expand(-1, 3, -1, -1)):
            before, first = x.clone(), run(x)
            with torch.no_grad():
                torch.testing.assert_close(first, network(x), atol=1e-5, rtol=1e-5)
            kept = first.clone()
            run(1 - x)
            assert torch.equal(first, kept) and torch.equal(x, before)  # nothing is shared between calls


def test_bf16(network: VapSR) -> None:
    pytest.importorskip('openvino')
    run = fused_engine(network, 'bf16', 'openvino')
    if run is None:
        pytest.skip('this processor does not multiply bf16 (AVX512_BF16)')
    x = torch.rand(1, 3, 40, 50)
    with torch.inference_mode():
        exact, plain = network(x), copy.deepcopy(network).bfloat16()(x.bfloat16()).float()
    error = (run(x) - exact).pow(2).mean()
    assert 0 < error < (plain - exact).pow(2).mean()


def test_threads_share_it(network: VapSR, engine: str) -> None:
    run = fused_engine(network, 'fp32', engine)
    images = [torch.rand(1, 3, 20 + index % 3, 30) for index in range(24)]
    alone = [run(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(run, images)):
            torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


def test_memory_that_runs_out_makes_tiles_smaller(weights: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    upscale = Upscaler(weights, engine=engine, tile=64, halo=0, log=said.append)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    kernel = fused_vab.kernel(torch.float32)

    def scarce(x: object, out: object, parameters: object, batch: object, height: object, *rest: object) -> int:
        return 1 if height.value > 32 else kernel(x, out, parameters, batch, height, *rest)

    monkeypatch.setattr(fused_vab, 'kernel', lambda dtype: scarce)
    upscaled = upscale(image)
    assert said == ['memory ran out: continuing with tiles of 32 pixels in place of 64']
    in_tiles_of_32 = Upscaler(weights, tile=32, halo=0)(image)
    assert np.abs(np.int16(upscaled) - in_tiles_of_32).max() <= 1


@pytest.mark.parametrize('make', [lambda: VapSR(num_feat=24, num_block=1), lambda: nn.Conv2d(3, 3, 1)])
def test_what_cannot_be_fused_is_left_to_the_runtime(make: Callable[[], nn.Module], engine: str) -> None:
    assert fused_engine(make(), 'fp32', engine) is None


def test_without_a_kernel_the_runtime_runs_the_blocks(weights: Path, network: VapSR, engine: str,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_vab, 'kernel', lambda dtype: None)
    run = load_engine(weights, engine=engine)
    assert not isinstance(run, FusedOnnxEngine)
    x = torch.rand(1, 3, 15, 17)
    with torch.no_grad():
        torch.testing.assert_close(run(x), network(x), atol=2e-5, rtol=1e-4)
