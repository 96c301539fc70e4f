"""Networks in int8, for ONNX Runtime and OpenVINO: ONNX Runtime's quantiser, calibrated on images.

The models hold QuantizeLinear and DequantizeLinear around each convolution, which both runtimes turn into arithmetic in int8.
"""

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vapsr_arch.data.folders import split_images
from vapsr_arch.data.image_files import read_image
from vapsr_arch.engines.graph_forms import for_onnxruntime, for_openvino
from vapsr_arch.engines.graphs import OPSET, graph_min_size, network_name, onnx_model
from vapsr_arch.errors import VapsrError
from vapsr_arch.export.files import foreign_explained, write_openvino
from vapsr_arch.files import written_whole

MIN_PSNR = 35.0  # dB between the outputs in int8 and in float32; an output that is 32 dB from the truth loses 1.8 dB by it
SHIPPED = ('astronaut.png', 'chelsea.png', 'coffee.png', 'motorcycle_left.png', 'rocket.jpg')  # of scikit-image
_CROP = 64  # pixels
_MIN_CROPS, _MAX_IMAGES = 20, 40
_FLOAT_AT_END = 3  # convolutions before the output that stay in float32, as the first does: they would lose most


def calibration_crops(folder: Path | None, network: nn.Module) -> list[Tensor]:
    """Crops of images, of 64 pixels where the image is large enough, from places that are always the same.

    Args:
        folder: Images of any format that is read; None for the photographs that scikit-image ships.
        network: The network that they are for.

    Returns:
        1 x C x H x W each, RGB or grey as the network takes them, values in [0, 1].

    Raises:
        VapsrError: There are no images, one cannot be read, or the network takes neither RGB nor grey.
    """
    if network.num_in_ch not in (1, 3):
        raise VapsrError(f'int8 is calibrated on images: {network_name(network)} takes {network.num_in_ch} channels, not 1 or 3')
    if folder is None:
        package = importlib.util.find_spec('skimage')
        if package is None:
            raise VapsrError('int8 is calibrated on images: give --calibration FOLDER, or install scikit-image, which ships '
                             'some: `pip install scikit-image`')
        paths = [Path(package.origin).parent / 'data' / name for name in SHIPPED]
    else:
        paths = split_images(folder)[0]
    paths = paths[::-(-len(paths) // _MAX_IMAGES)]
    random = np.random.default_rng(0)
    crops = []
    for path in paths:
        pixels = read_image(path).pixels
        values = pixels[..., :3 if pixels.shape[2] > 2 else 1].astype(np.float32) / np.iinfo(pixels.dtype).max
        if network.num_in_ch == 1:
            values = values.mean(2, keepdims=True)
        image = np.broadcast_to(values, (*values.shape[:2], network.num_in_ch)).transpose(2, 0, 1)
        height, width = image.shape[1:]
        if min(height, width) < graph_min_size(network):
            continue
        for _ in range(-(-_MIN_CROPS // len(paths))):
            top, left = (random.integers(max(side - _CROP, 0) + 1) for side in (height, width))
            crops.append(torch.from_numpy(image[None, :, top:top + _CROP, left:left + _CROP].copy()))
    if not crops:
        raise VapsrError(f'{folder}: every image is smaller than the {graph_min_size(network)}x{graph_min_size(network)} pixels '
                         f'that {network_name(network)} takes')
    return crops


def quantised(model: bytes, crops: Sequence[Tensor]) -> bytes:
    """A model of `onnx_model` with convolutions in int8, all but the first and the last three.

    Weights are scaled by output channel, features as a whole by the smallest and largest value that the crops lead to. Weights
    keep 7 bits: processors with AVX2 and without VNNI add two products in 16 bits, which 8 overflow.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Crops(CalibrationDataReader):

        def __init__(self) -> None:
            self.left = iter(crops)

        def get_next(self) -> dict[str, np.ndarray] | None:
            crop = next(self.left, None)
            return None if crop is None else {'image': crop.numpy()}

    graph = onnx.load_model_from_string(model)
    convolutions = [node.name for node in graph.graph.node if node.op_type == 'Conv']
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder, 'int8.onnx')
        quantize_static(
            graph, out, Crops(), QuantFormat.QDQ, op_types_to_quantize=['Conv'], per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=[*convolutions[:1], *convolutions[-_FLOAT_AT_END:]])
        result = onnx.load(out)
    onnx.helper.set_model_props(result, facts)
    return result.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Has the quantiser's advice on other models left out."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def check_int8(name: Path, run: Callable[[Tensor], Tensor], network: nn.Module, crops: Sequence[Tensor]) -> float:
    """Compares what a network in int8 makes of the crops, and of parts of them, with what torch makes of them in float32.

    Returns:
        The PSNR in dB, over all values, clipped to [0, 1].

    Raises:
        VapsrError: It is under `MIN_PSNR`, or an output has another shape.
    """
    squares, count = 0.0, 0
    for crop in crops:
        side = max(graph_min_size(network), min(crop.shape[2:]) - 13)
        for x in (crop, crop[..., :side]):
            with torch.inference_mode():
                expected, got = network(x), run(x)
            if got.shape != expected.shape:
                raise VapsrError(f'{name} was not written: in int8 the network makes images of another size')
            squares += (got.clamp(0, 1) - expected.clamp(0, 1)).double().square().sum().item()
            count += expected.numel()
    psnr = -10 * float(np.log10(max(squares / count, 1e-10)))
    if not psnr >= MIN_PSNR:  # nan is refused, too
        raise VapsrError(f'{name} was not written: on the calibration images, int8 is {psnr:.1f} dB from float32, where '
                         f'{MIN_PSNR:.0f} dB are the least: calibrate on other images, or leave --int8 out')
    return psnr


def export_onnx_int8(network: nn.Module, out: Path, facts: Mapping[str, str], crops: Sequence[Tensor],
                     opset: int = OPSET) -> float:
    """Writes an ONNX file in int8 that ONNX Runtime has run; returns and raises as `check_int8`.

    Args:
        network: The network.
        out: The file.
        facts: Its metadata.
        crops: Those of `calibration_crops`.
        opset: As for `onnx_model`.
    """
    from vapsr_arch.engines.onnx_engines import OnnxRuntimeEngine
    with foreign_explained(out, network), written_whole(out) as temporary:
        temporary.write_bytes(quantised(onnx_model(for_onnxruntime(network), facts, opset=opset), crops))
        return check_int8(out, OnnxRuntimeEngine(temporary, 'fp32'), network, crops)


def export_openvino_int8(network: nn.Module, out: Path, facts: Mapping[str, str], crops: Sequence[Tensor]) -> float:
    """Writes OpenVINO's two files in int8, which OpenVINO has run; arguments, results and errors as for `export_onnx_int8`."""
    with foreign_explained(out, network):
        model = quantised(onnx_model(for_openvino(network), facts), crops)
        return write_openvino(model, out, lambda run: check_int8(out, run, network, crops))
