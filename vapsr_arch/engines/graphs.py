"""Networks as ONNX graphs, and what such a graph says of itself."""

import copy
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vapsr_arch import __version__
from vapsr_arch.archs.common.adapted import bare
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.downloads import file_sum
from vapsr_arch.weights.networks import infer

OPSET = 20  # the first with Gelu as one operator; LayerNormalization is one since 17
OPSETS = range(13, OPSET + 1)


class _HalfInside(nn.Module):
    """A network in fp16 that takes and gives float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.half()).float()


def metadata(network: nn.Module, source: Path | None = None, precision: str = 'fp32') -> dict[str, str]:
    """What an exported file says of itself.

    Args:
        network: A network, with what `weights.described` gives it.
        source: The checkpoint it was built from.
        precision: What the file computes in.

    Returns:
        Network, its arguments as JSON, scale, number of input channels, smallest input, halo (`whole image` for a network
        without), `tiles` (`no` for a network that must see the whole image), precision, sha256 of the source and version of
        this package.
    """
    name, arguments = infer(network.state_dict()) or (network_name(network), {})
    facts = {
        'network': name, 'arguments': json.dumps({**arguments, **_scale_argument(arguments, network.scale)}),
        'scale': network.scale, 'num_in_ch': network.num_in_ch, 'min_size': graph_min_size(network),
        'halo': 'whole image' if network.halo is None else network.halo, 'precision': precision, 'vapsr_arch': __version__}
    if not getattr(network, 'tiles', True):
        facts['tiles'] = 'no'
    if source is not None:
        facts['source_sha256'] = file_sum(source, 'sha256')
    return {key: str(value) for key, value in facts.items()}


def network_name(network: nn.Module) -> str:
    """What a network is called: its class, or what spandrel calls it."""
    return getattr(network, 'architecture', type(bare(network)).__name__)


def graph_min_size(network: nn.Module) -> int:
    """The smallest height and width that a graph of a network takes; of one that pads by itself, often another than its own."""
    return getattr(network, 'graph_min_size', network.min_size)


def _scale_argument(arguments: Mapping[str, object], scale: int) -> dict[str, int]:
    return {key: scale for key in ('scale', 'upscale') if key in arguments}  # PAN's weights are the same for x2 and x3


def onnx_model(network: nn.Module, facts: Mapping[str, str], fp16: bool = False, opset: int = OPSET) -> bytes:
    """A network as an ONNX model: `image` to `upscaled`, float32, with dynamic batch, height and width.

    Args:
        network: A network, with what `weights.described` gives it.
        facts: The model's metadata.
        fp16: Whether it computes in fp16.
        opset: The version of ONNX's operators, of `OPSETS`. What an older one lacks is made of several basic operators.
    """
    import onnx
    side = max(graph_min_size(network), 24)
    image = torch.rand(2, network.num_in_ch, side, side + 8)
    model = onnx.load_model_from_string(trace(_HalfInside(network) if fp16 else network, [image], {
        'image': {0: 'batch', 2: 'height', 3: 'width'},
        'upscaled': {0: 'batch', 2: 'upscaled_height', 3: 'upscaled_width'}}, opset))
    if isinstance(network, VapSR):
        _name_sizes(model.graph, onnx.TensorProto.FLOAT16 if fp16 else onnx.TensorProto.FLOAT)
    onnx.helper.set_model_props(model, dict(facts))
    return model.SerializeToString()


def trace(module: nn.Module, inputs: Sequence[Tensor], axes: Mapping[str, Mapping[int, str]], opset: int = OPSET) -> bytes:
    """A module as an ONNX model, without metadata.

    The older of torch's exporters makes it, which traces: the operators are the newer's but for some of shapes, in a tenth of
    the time, and onnxscript is not needed.

    Args:
        module: The module, of one output.
        inputs: Examples of what it takes.
        axes: The dynamic dimensions, by the names of the inputs and of the output, which come last.
        opset: As for `onnx_model`.
    """
    buffer = io.BytesIO()
    *names, output = axes
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the trace leaves out the checks of the input's size; the exporter is the older
        torch.onnx.export(module.eval(), tuple(inputs), buffer, dynamo=False, opset_version=opset, input_names=names,
                          output_names=[output], dynamic_axes=axes)
    return buffer.getvalue()


def _name_sizes(graph: Any, number: int) -> None:
    """Says that all features of a VapSR have the image's size, up to the first that are upscaled.

    ONNX Runtime, which does not see it of dilated convolutions, then multiplies features in the layout of its convolutions.

    Args:
        graph: The network, an onnx.GraphProto.
        number: What its numbers are, an onnx.TensorProto.DataType.
    """
    import onnx
    channels = {weight.name: weight.dims[0] for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == 'DepthToSpace':
            return
        if node.op_type == 'Conv':
            graph.value_info.append(onnx.helper.make_tensor_value_info(
                node.output[0], number, ['batch', channels[node.input[1]], 'height', 'width']))
