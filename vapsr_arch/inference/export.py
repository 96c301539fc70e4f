"""Networks as files for other programs: ONNX, OpenVINO's IR, torch.export. Each is checked before it gets its name."""

import copy
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch import __version__
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.checkpoints import infer
from vapsr_arch.data.fetch import file_sum
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.inference.export_forms import for_onnxruntime, for_openvino

OPSET = 20  # the first with Gelu as one operator
TOLERANCE = {'fp32': 1e-4, 'fp16': 1e-2}  # of the largest output
MIN_EXPORTED = 21  # pixels: torch.export does not see that ESA's pooling window fits smaller images, of 15 to 20 pixels


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
        network: One of `NETWORKS`.
        source: The checkpoint it was built from.
        precision: What the file computes in.

    Returns:
        Network, its arguments as JSON, scale, number of input channels, smallest input, halo (`whole image` for a network
        without), precision, sha256 of the source and version of this package.
    """
    name, arguments = infer(network.state_dict()) or (type(network).__name__, {})
    facts = {
        'network': name, 'arguments': json.dumps({**arguments, **_scale_argument(arguments, network.scale)}),
        'scale': network.scale, 'num_in_ch': network.num_in_ch, 'min_size': network.min_size,
        'halo': 'whole image' if network.halo is None else network.halo, 'precision': precision, 'vapsr_arch': __version__}
    if source is not None:
        facts['source_sha256'] = file_sum(source, 'sha256')
    return {key: str(value) for key, value in facts.items()}


def _scale_argument(arguments: Mapping[str, object], scale: int) -> dict[str, int]:
    return {key: scale for key in ('scale', 'upscale') if key in arguments}  # PAN's weights do not tell x2 from x3


def onnx_model(network: nn.Module, facts: Mapping[str, str], fp16: bool = False) -> bytes:
    """A network as an ONNX model: `image` to `enlarged`, float32, with dynamic batch, height and width.

    Args:
        network: A network that has `num_in_ch` and `min_size`.
        facts: The model's metadata.
        fp16: Whether it computes in fp16.
    """
    import onnx
    side = max(network.min_size, 24)
    image = torch.rand(2, network.num_in_ch, side, side + 8)
    model = onnx.load_model_from_string(trace(_HalfInside(network) if fp16 else network, [image], {
        'image': {0: 'batch', 2: 'height', 3: 'width'},
        'enlarged': {0: 'batch', 2: 'enlarged_height', 3: 'enlarged_width'}}))
    if isinstance(network, VapSR):
        _name_sizes(model.graph, onnx.TensorProto.FLOAT16 if fp16 else onnx.TensorProto.FLOAT)
    onnx.helper.set_model_props(model, dict(facts))
    return model.SerializeToString()


def trace(module: nn.Module, inputs: Sequence[Tensor], axes: Mapping[str, Mapping[int, str]]) -> bytes:
    """A module as an ONNX model, without metadata.

    The older of torch's exporters makes it, which traces: the operators are the newer's but for some of shapes, in a tenth of
    the time, and onnxscript is not needed.

    Args:
        module: The module, of one output.
        inputs: Examples of what it takes.
        axes: The dynamic dimensions, by the names of the inputs and of the output, which come last.
    """
    buffer = io.BytesIO()
    *names, output = axes
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the trace leaves out the checks of the input's size; the exporter is the older
        torch.onnx.export(module.eval(), tuple(inputs), buffer, dynamo=False, opset_version=OPSET, input_names=names,
                          output_names=[output], dynamic_axes=axes)
    return buffer.getvalue()


def _name_sizes(graph: Any, number: int) -> None:
    """Says that all features of a VapSR have the image's size, up to the first that are enlarged.

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


def check(name: Path, run: Callable[[Tensor], Tensor], network: nn.Module, precision: str = 'fp32',
          min_size: int | None = None) -> float:
    """Compares what an exported network makes of images of three sizes with what torch makes of them.

    They are as smooth as photographs: white noise, which no network was trained on, enlarges the rounding of fp16 forty times.

    Args:
        name: The file that is to be written, for the message.
        run: The exported network.
        network: The network.
        precision: What the exported network computes in.
        min_size: The smallest size it takes; None for the network's.

    Returns:
        The largest difference, of values about [0, 1].

    Raises:
        VapsrError: It is larger than `TOLERANCE` allows.
    """
    side = min_size or network.min_size
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, height, width in ((1, side, side + 6), (2, side + 30, side + 17), (1, side + 47, side + 63)):
        coarse = torch.rand(batch, network.num_in_ch, height // 4 + 1, width // 4 + 1, generator=generator)
        x = F.interpolate(coarse, (height, width), mode='bicubic').clamp(0, 1)
        with torch.inference_mode():
            expected, got = network(x), run(x)
        same = got.shape == expected.shape
        difference = (got - expected).abs().max().item() if same else float('inf')
        if not difference <= TOLERANCE[precision] * max(1, expected.abs().max().item()):  # nan is refused, too
            raise VapsrError(f'{name} was not written: for an image of {width}x{height} pixels the exported network differs '
                             f"from torch's by {difference:.1e}, or in shape; this is a defect: please report it")
        worst = max(worst, difference)
    return worst


def export_onnx(network: nn.Module, out: Path, facts: Mapping[str, str], fp16: bool = False) -> float:
    """Writes an ONNX file that ONNX Runtime has run; returns and raises as `check`. Arguments are those of `onnx_model`."""
    from vapsr_arch.inference.onnx_engines import OnnxRuntimeEngine
    with written_whole(out) as temporary:
        temporary.write_bytes(onnx_model(for_onnxruntime(network), facts, fp16))
        return check(out, OnnxRuntimeEngine(temporary, 'fp32'), network, 'fp16' if fp16 else 'fp32')


def export_openvino(network: nn.Module, out: Path, facts: Mapping[str, str], fp16: bool = False) -> float:
    """Writes OpenVINO's two files that OpenVINO has run, `out` and its `.bin`; returns and raises as `check`.

    Args:
        network: The network.
        out: The `.xml` file.
        facts: Their metadata.
        fp16: Whether the weights are stored in fp16. What is computed in is chosen where they run.
    """
    import openvino

    from vapsr_arch.inference.onnx_engines import OpenVinoEngine, openvino_core
    model = openvino_core().read_model(onnx_model(for_openvino(network), facts))
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, 'model.xml')
        openvino.save_model(model, whole, compress_to_fp16=fp16)
        difference = check(out, OpenVinoEngine(whole, 'fp32'), network, 'fp16' if fp16 else 'fp32')
        for suffix in ('.bin', '.xml'):
            with written_whole(out.with_suffix(suffix)) as temporary:
                temporary.write_bytes(whole.with_suffix(suffix).read_bytes())
    return difference


def export_torch(network: nn.Module, out: Path, facts: Mapping[str, str]) -> float:
    """Writes a file of torch.export; its metadata lies in it as `metadata.json`. Returns and raises as `check`.

    Images of networks with ESA (RFDN, BSRN, BSRN-S) must be 21x21 pixels there, and not 15x15: the metadata says so.

    Args:
        network: The network.
        out: The `.pt2` file.
        facts: Its metadata.
    """
    min_size = MIN_EXPORTED if network.min_size > 1 else 2  # torch.export takes dimensions of 1 for constants
    facts = dict(facts, min_size=str(min_size))
    height, width = (torch.export.Dim(name, min=min_size) for name in ('height', 'width'))
    image = torch.rand(2, network.num_in_ch, 48, 56)
    with torch.no_grad():
        program = torch.export.export(network, (image,), dynamic_shapes=({0: torch.export.Dim('batch'), 2: height, 3: width},))
    with written_whole(out) as temporary:
        torch.export.save(program, temporary, extra_files={'metadata.json': json.dumps(facts)})
        return check(out, torch.export.load(temporary).module(), network, min_size=min_size)
