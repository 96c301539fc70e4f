"""Networks as files for other programs: ONNX, OpenVINO's IR, torch.export. Each is checked before it gets its name."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.archs import NETWORKS
from vapsr_arch.engines.graph_forms import for_onnxruntime, for_openvino
from vapsr_arch.engines.graphs import OPSET, graph_min_size, network_name, onnx_model
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole

TOLERANCE = {'fp32': 1e-4, 'fp16': 1e-2}  # of the largest output
MIN_EXPORTED = 21  # pixels: torch.export does not see that ESA's pooling window fits smaller images, of 15 to 20 pixels


def check(name: Path, run: Callable[[Tensor], Tensor], network: nn.Module, precision: str = 'fp32',
          min_size: int | None = None) -> float:
    """Compares an exported network's results for images of three sizes with torch's.

    They are as smooth as photographs: white noise, which no network was trained on, amplifies the rounding of fp16 forty times.

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
    side = min_size or graph_min_size(network)
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
            whose = 'this is a defect: please report it' if _is_own(network) else (
                f'what {network_name(network)} does with an image depends on its size, or needs more than {precision} has')
            raise VapsrError(f'{name} was not written: for an image of {width}x{height} pixels the exported network differs '
                             f"from torch's by {difference:.1e}, or in shape; {whose}")
        worst = max(worst, difference)
    return worst


def _is_own(network: nn.Module) -> bool:
    return isinstance(network, tuple(NETWORKS.values()))


@contextmanager
def foreign_explained(out: Path, network: nn.Module) -> Iterator[None]:
    """Turns whatever an exporter or a runtime says of a third-party network into a sentence.

    Raises:
        VapsrError: What the file was to be, and the reason.
    """
    try:
        yield
    except Exception as error:
        if _is_own(network) or isinstance(error, OSError) or str(error).startswith(f'{out} was not written'):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).partition('. Please')[0]
        raise VapsrError(f'{out} was not written: {network_name(network)} cannot be exported for images of any size: '
                         f'{reason}') from None


def export_onnx(network: nn.Module, out: Path, facts: Mapping[str, str], fp16: bool = False, opset: int = OPSET) -> float:
    """Writes an ONNX file that ONNX Runtime has run; returns and raises as `check`. Arguments are those of `onnx_model`."""
    from vapsr_arch.engines.onnx_engines import OnnxRuntimeEngine
    with foreign_explained(out, network), written_whole(out) as temporary:
        temporary.write_bytes(onnx_model(for_onnxruntime(network), facts, fp16, opset))
        return check(out, OnnxRuntimeEngine(temporary, 'fp32'), network, 'fp16' if fp16 else 'fp32')


def export_openvino(network: nn.Module, out: Path, facts: Mapping[str, str], fp16: bool = False) -> float:
    """Writes OpenVINO's two files that OpenVINO has run, `out` and its `.bin`; returns and raises as `check`.

    Args:
        network: The network.
        out: The `.xml` file.
        facts: Their metadata.
        fp16: Whether the weights are stored in fp16. What is computed in is chosen where they run.
    """
    with foreign_explained(out, network):
        return write_openvino(onnx_model(for_openvino(network), facts), out,
                              lambda run: check(out, run, network, 'fp16' if fp16 else 'fp32'), fp16)


def write_openvino(model: bytes, out: Path, checked: Callable[[Callable[[Tensor], Tensor]], float], fp16: bool = False) -> float:
    """Writes an ONNX model as OpenVINO's two files, after a check.

    Args:
        model: The ONNX model.
        out: The `.xml` file.
        checked: Is called with what runs the files; raises if they are not to get their names.
        fp16: Whether the weights are stored in fp16.

    Returns:
        What `checked` does.
    """
    import openvino

    from vapsr_arch.engines.onnx_engines import OpenVinoEngine, openvino_core
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, 'model.xml')
        openvino.save_model(openvino_core().read_model(model), whole, compress_to_fp16=fp16)
        result = checked(OpenVinoEngine(whole, 'fp32'))
        for suffix in ('.bin', '.xml'):
            with written_whole(out.with_suffix(suffix)) as temporary:
                temporary.write_bytes(whole.with_suffix(suffix).read_bytes())
    return result


def export_torch(network: nn.Module, out: Path, facts: Mapping[str, str]) -> float:
    """Writes a file of torch.export; its metadata lies in it as `metadata.json`. Returns and raises as `check`.

    Images of networks with ESA (RFDN, BSRN, BSRN-S) must be 21x21 pixels there, and not 15x15: the metadata says so.

    Args:
        network: The network.
        out: The `.pt2` file.
        facts: Its metadata.
    """
    # torch.export takes dimensions of 1 for constants.
    min_size = max(MIN_EXPORTED, network.min_size) if network.min_size > 1 else max(graph_min_size(network), 2)
    facts = dict(facts, min_size=str(min_size))
    height, width = (torch.export.Dim(name, min=min_size) for name in ('height', 'width'))
    image = torch.rand(2, network.num_in_ch, 48, 56)
    with foreign_explained(out, network), torch.no_grad(), written_whole(out) as temporary:
        program = torch.export.export(network, (image,), dynamic_shapes=({0: torch.export.Dim('batch'), 2: height, 3: width},))
        torch.export.save(program, temporary, extra_files={'metadata.json': json.dumps(facts)})
        return check(out, torch.export.load(temporary).module(), network, min_size=min_size)
