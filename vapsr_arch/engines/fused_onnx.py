"""VapSR on OpenVINO and ONNX Runtime with its attention blocks fused: the runtime runs what follows the blocks.

The runtimes run the blocks layer by layer, and wait for memory meanwhile: OpenVINO takes 1.4 times as long for them as the
kernel, in float32. The first convolution, a two-hundredth of the work, is torch's, which shares its threads with the kernel:
threads change once.
"""

import copy
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vapsr_arch.archs.common.checks import check_input
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines.fused_vab import FusedVAB, fuse
from vapsr_arch.engines.graphs import trace
from vapsr_arch.engines.onnx_engines import OnnxRuntimeModel, OpenVinoModel
from vapsr_arch.engines.torch_engines import DTYPES


class _Tail(nn.Module):
    """What comes after the blocks, and the features before them: N x H x W x C both, to N x C x (scale H) x (scale W)."""

    def __init__(self, network: VapSR) -> None:
        super().__init__()
        self.conv_body, self.upsampler = network.conv_body, network.upsampler

    def forward(self, features: Tensor, shallow: Tensor) -> Tensor:
        return self.upsampler(self.conv_body(features.permute(0, 3, 1, 2)) + shallow.permute(0, 3, 1, 2))


class FusedOnnxEngine:
    """An `Engine` of a VapSR whose attention blocks the fused kernel runs.

    Args:
        network: The network; stays as it is.
        body: Its blocks as `FusedVAB`s.
        runtime: Makes what runs an ONNX model, of its bytes: called with arrays, it gives one.
    """

    side_by_side = False

    def __init__(self, network: VapSR, body: nn.Sequential, runtime: Callable[[bytes], Callable[..., np.ndarray]]) -> None:
        self.scale, self.num_in_ch = network.scale, network.num_in_ch
        self.min_size, self.halo, self.tiles = network.min_size, network.halo, True
        self.body, self.dtype = body, body[0].dtype
        self.conv_first = copy.deepcopy(network.conv_first).to(self.dtype, memory_format=torch.channels_last)
        features = torch.rand(1, 8, 9, network.conv_first.out_channels)
        pixels = {0: 'batch', 1: 'height', 2: 'width'}
        self.tail = runtime(trace(_Tail(network), [features, features], {
            'features': pixels, 'shallow': pixels,
            'upscaled': {0: 'batch', 2: 'upscaled_height', 3: 'upscaled_width'}}))

    def __call__(self, x: Tensor) -> Tensor:
        check_input('VapSR', x, self.num_in_ch, self.min_size)
        with torch.inference_mode():
            shallow = self.conv_first(x.to('cpu', self.dtype, memory_format=torch.channels_last))
            features = self.body(shallow)
            return torch.from_numpy(self.tail(*(
                tensor.permute(0, 2, 3, 1).float().numpy() for tensor in (features, shallow))))


def fused_engine(network: nn.Module, precision: str, engine: str) -> FusedOnnxEngine | None:
    """Makes the engine of a VapSR.

    Args:
        network: Any network; stays as it is.
        precision: One of `DTYPES`.
        engine: `openvino` or `onnxruntime`.

    Returns:
        The engine; None for networks of other kinds, in precisions that the runtime does not have, and where `fuse` leaves
        a block as it is.
    """
    runtime = OpenVinoModel if engine == 'openvino' else OnnxRuntimeModel
    if not isinstance(network, VapSR) or precision not in runtime.precisions():
        return None
    body = fuse(copy.deepcopy(network.body).to(DTYPES[precision]))
    if not all(isinstance(block, FusedVAB) for block in body):
        return None
    return FusedOnnxEngine(network, body, functools.partial(runtime, precision=precision))
