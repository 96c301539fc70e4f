"""Engines: what runs a network on images. torch as it is, compiled, OpenVINO or ONNX Runtime, all called alike."""

import importlib.util
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.names import find_weights

ENGINES = ('torch', 'compile', 'openvino', 'onnxruntime')
PRECISIONS = ('fp32', 'bf16', 'fp16')
GRAPHS = ('.onnx', '.xml')  # ONNX, OpenVINO


@runtime_checkable
class Engine(Protocol):
    """A network that is ready to enlarge images. Several threads may call one engine.

    Attributes:
        scale: Enlargement.
        num_in_ch: Channels of the input.
        min_size: The smallest height and width of an input.
        halo: Pixels of the input around a tile that its output depends on; None: the whole image, or not known.
    """

    scale: int
    num_in_ch: int
    min_size: int
    halo: int | None

    def __call__(self, x: Tensor) -> Tensor:
        """Enlarges a batch of images.

        Args:
            x: N x num_in_ch x H x W, float32, values in [0, 1], RGB, on the CPU. H and W of min_size and more.

        Returns:
            N x C x (scale H) x (scale W), float32, values about [0, 1], not clipped, on the CPU.

        Raises:
            ValueError: x has another number of dimensions or channels, or is too small.
        """
        ...


def load_engine(weights: str | os.PathLike, *, scale: int | None = None, device: str = 'auto', precision: str = 'fp32',
                engine: str = 'torch') -> Engine:
    """Makes an engine from weights.

    Args:
        weights: A checkpoint of one of the project's networks or, for `openvino` and `onnxruntime`, also an ONNX file, for
            `openvino` an IR's `.xml`; or a name, as for `find_weights`.
        scale: The enlargement; None for the one that the weights tell, as for `build_network`.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one and the engine can use it.
        precision: What the network computes in: `fp32`, `bf16` or `fp16`. Input and output are float32 in any case.
        engine: `torch`; `compile`, torch.compile, which takes its time at the first image; `openvino` or `onnxruntime`,
            which compute on the CPU.

    Raises:
        VapsrError: There are no such weights, they are for another scale, or this machine or this installation cannot run
            them so.
    """
    for what, value, known in (('engine', engine, ENGINES), ('precision', precision, PRECISIONS),
                               ('device', device, ('auto', 'cpu', 'cuda'))):
        if value not in known:
            raise VapsrError(f'there is no {what} {value!r}: choose one of {", ".join(known)}')
    path = find_weights(weights)
    if engine in ('torch', 'compile'):
        return _torch_engine(path, scale, device, precision, engine)
    return _onnx_engine(path, scale, device, precision, engine)


def _torch_engine(path: Path, scale: int | None, device: str, precision: str, engine: str) -> Engine:
    import torch

    from vapsr_arch.engines import torch_engines
    from vapsr_arch.weights.networks import build_network
    if path.suffix in GRAPHS:
        raise VapsrError(f'{path} is an exported network, which the engine {engine} does not read: choose the engine '
                         f'onnxruntime or openvino')
    if device == 'cuda' and not torch.cuda.is_available():
        raise VapsrError('there is no CUDA GPU that torch can use here: choose the device cpu')
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and precision == 'fp16' and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise VapsrError('torch has no fast fp16 on this CPU: choose the precision fp32, or the device cuda')
    make = torch_engines.TorchEngine if engine == 'torch' else torch_engines.CompiledEngine
    return make(build_network(path, scale), device, precision)


def _onnx_engine(path: Path, scale: int | None, device: str, precision: str, engine: str) -> Engine:
    if device == 'cuda':
        raise VapsrError(f'the engine {engine} computes on the CPU here: choose the engine torch or compile for a GPU')
    if importlib.util.find_spec(engine) is None:
        raise VapsrError(f'the engine {engine} is not installed: `pip install {engine}`')
    from vapsr_arch.engines import onnx_engines
    make = onnx_engines.OpenVinoEngine if engine == 'openvino' else onnx_engines.OnnxRuntimeEngine
    if path.suffix in GRAPHS:
        made = make(path, precision)
        if scale not in (None, made.scale):
            raise VapsrError(f'{path} holds a network for x{made.scale}, not x{scale}')
        return made
    if importlib.util.find_spec('onnx') is None:
        raise VapsrError(f'{path} becomes an ONNX model first, for which onnx is not installed: `pip install onnx`')
    from vapsr_arch.engines.fused_onnx import fused_engine
    from vapsr_arch.engines.graph_forms import for_onnxruntime, for_openvino
    from vapsr_arch.engines.graphs import metadata, onnx_model
    from vapsr_arch.weights.networks import build_network
    network = build_network(path, scale)
    rewrite = for_openvino if engine == 'openvino' else for_onnxruntime
    return fused_engine(network, precision, engine) or make(onnx_model(rewrite(network), metadata(network)), precision)
