"""VapSR on OpenVINO with its attention blocks fused: convolutions in two compiled models, and between them our kernel.

OpenVINO runs the blocks layer by layer, and so waits for memory as long as it computes: they take it 1.5 times as long.
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


class _Head(nn.Module):
    """What comes before the blocks; gives N x H x W x C."""

    def __init__(self, network: VapSR) -> None:
        super().__init__()
        self.conv_first = network.conv_first

    def forward(self, image: Tensor) -> Tensor:
        return self.conv_first(image).permute(0, 2, 3, 1)


class _Tail(nn.Module):
    """What comes after the blocks; takes N x H x W x C."""

    def __init__(self, network: VapSR) -> None:
        super().__init__()
        self.conv_body, self.upsampler = network.conv_body, network.upsampler

    def forward(self, features: Tensor, shallow: Tensor) -> Tensor:
        return self.upsampler(self.conv_body(features.permute(0, 3, 1, 2)) + shallow.permute(0, 3, 1, 2))


class FusedOpenVinoEngine:
    """A VapSR whose convolutions OpenVINO runs, and whose attention blocks the fused kernel does.

    Args:
        network: The network; stays as it is.
        body: Its blocks as `FusedVAB`s.
        precision: What OpenVINO computes in.
    """

    def __init__(self, network: VapSR, body: nn.Sequential, precision: str) -> None:
        self.scale, self.num_in_ch = network.scale, network.num_in_ch
        self.min_size, self.halo = network.min_size, network.halo
        self.body, self.dtype = body, body[0].dtype
        image, features = torch.rand(1, network.num_in_ch, 8, 9), torch.rand(1, 8, 9, network.conv_first.out_channels)
        planes, pixels = ({0: 'batch', first: 'height', first + 1: 'width'} for first in (2, 1))
        self.head, self.tail = (
            CompiledByOpenVino(openvino_core().read_model(model), precision) for model in (
                trace(_Head(network), [image], {'image': planes, 'shallow': pixels}),
                trace(_Tail(network), [features, features], {
                    'features': pixels, 'shallow': pixels,
                    'enlarged': {0: 'batch', 2: 'enlarged_height', 3: 'enlarged_width'}})))

    def __call__(self, x: Tensor) -> Tensor:
        check_input('VapSR', x, self.num_in_ch, self.min_size)
        shallow = self.head(x.numpy(force=True))
        with torch.inference_mode():
            features = self.body(torch.from_numpy(shallow).permute(0, 3, 1, 2).to(self.dtype))
            features = features.permute(0, 2, 3, 1).float().numpy()
        return torch.from_numpy(self.tail(features, shallow).copy())


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
