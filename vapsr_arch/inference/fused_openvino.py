"""VapSR on OpenVINO with its attention blocks fused: they are our kernel's, and what comes after them is OpenVINO's.

OpenVINO itself runs the blocks layer by layer, and waits for memory meanwhile: they take it 1.4 times as long in float32. The
first convolution, a two-hundredth of the work, is torch's, which shares its threads with the kernel: threads change once.
"""

import copy

import torch
from torch import Tensor, nn

from vapsr_arch.archs.checks import check_input
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.inference.export import trace
from vapsr_arch.inference.fused_vab import FusedVAB, fuse
from vapsr_arch.inference.onnx_engines import CompiledByOpenVino, OpenVinoEngine, openvino_core
from vapsr_arch.inference.torch_engines import DTYPES


class _Tail(nn.Module):
    """What comes after the blocks; takes N x H x W x C."""

    def __init__(self, network: VapSR) -> None:
        super().__init__()
        self.conv_body, self.upsampler = network.conv_body, network.upsampler

    def forward(self, features: Tensor, shallow: Tensor) -> Tensor:
        return self.upsampler(self.conv_body(features.permute(0, 3, 1, 2)) + shallow.permute(0, 3, 1, 2))


class FusedOpenVinoEngine:
    """A VapSR whose attention blocks the fused kernel runs, and the convolutions after them OpenVINO.

    Args:
        network: The network; stays as it is.
        body: Its blocks as `FusedVAB`s.
        precision: What OpenVINO computes in.
    """

    def __init__(self, network: VapSR, body: nn.Sequential, precision: str) -> None:
        self.scale, self.num_in_ch = network.scale, network.num_in_ch
        self.min_size, self.halo = network.min_size, network.halo
        self.body, self.dtype = body, body[0].dtype
        self.conv_first = copy.deepcopy(network.conv_first).to(self.dtype, memory_format=torch.channels_last)
        features = torch.rand(1, 8, 9, network.conv_first.out_channels)
        pixels = {0: 'batch', 1: 'height', 2: 'width'}
        self.tail = CompiledByOpenVino(openvino_core().read_model(trace(_Tail(network), [features, features], {
            'features': pixels, 'shallow': pixels,
            'enlarged': {0: 'batch', 2: 'enlarged_height', 3: 'enlarged_width'}})), precision)

    def __call__(self, x: Tensor) -> Tensor:
        check_input('VapSR', x, self.num_in_ch, self.min_size)
        with torch.inference_mode():
            shallow = self.conv_first(x.to('cpu', self.dtype, memory_format=torch.channels_last))
            features = self.body(shallow)
            tail = (tensor.permute(0, 2, 3, 1).float().numpy() for tensor in (features, shallow))
            return torch.from_numpy(self.tail(*tail).copy())


def fused_engine(network: nn.Module, precision: str) -> FusedOpenVinoEngine | None:
    """Makes the engine of a VapSR.

    Args:
        network: Any network; stays as it is.
        precision: One of `DTYPES`.

    Returns:
        The engine; None for networks of other kinds, and where not all blocks can be fused: without a C compiler, in other
        precisions and of other numbers of channels.
    """
    if not isinstance(network, VapSR) or precision not in OpenVinoEngine.precisions():
        return None
    body = fuse(copy.deepcopy(network.body).to(DTYPES[precision]))
    return FusedOpenVinoEngine(network, body, precision) if all(isinstance(block, FusedVAB) for block in body) else None
