"""Engines: what runs a network on images. torch as it is, compiled, OpenVINO or ONNX Runtime, all called alike."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.described import described
from vapsr_arch.weights.names import find_weights
from vapsr_arch.weights.networks import build_network

ENGINES = ('torch', 'compile', 'openvino', 'onnxruntime')
PRECISIONS = ('fp32', 'bf16', 'fp16')
DEVICES = ('auto', 'cpu', 'cuda', 'mps')
GRAPHS = ('.onnx', '.xml')  # ONNX, OpenVINO


@runtime_checkable
class Engine(Protocol):
    """A network that is ready to upscale images. Several threads may call one engine.

    Attributes:
        scale: Output size over input size.
        num_in_ch: Channels of the input.
        min_size: The smallest height and width of an input.
        halo: Pixels of the input around a tile that its output depends on; None: the whole image, or not known.
        tiles: Whether tiles of an image may be upscaled one by one.
        side_by_side: Whether several calls at a time, each of a thread that has set its number of torch's threads, take less time
            than one after another.
    """

    scale: int
    num_in_ch: int
    min_size: int
    halo: int | None
    tiles: bool
    side_by_side: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Upscales a batch of images.

        Args:
            x: N x num_in_ch x H x W, float32, values in [0, 1], RGB, on the CPU. H and W of min_size and more.

        Returns:
            N x C x (scale H) x (scale W), float32, values about [0, 1], not clipped, on the device of the network and in any
            memory format.

        Raises:
            ValueError: x has another number of dimensions or channels, or is too small.
        """
        ...


def load_engine(weights: str | os.PathLike | nn.Module, *, scale: int | None = None, param_key: str | None = None,
                device: str = 'auto', precision: str = 'fp32', engine: str = 'torch',
                log: Callable[[str], None] | None = None) -> Engine:
    """Makes an engine from weights.

    Args:
        weights: A checkpoint of one of the project's networks or of one that spandrel knows; for `openvino` and
            `onnxruntime` also an ONNX file, for `openvino` an IR's `.xml`; or a name, as for `find_weights`. Or a network of
            torch, of any kind, which the engine takes over: N x C x H x W in [0, 1] to N x C x sH x sW, C being 1 or 3.
        scale: Output size over input size; None for the one that the weights determine, as for `build_network`.
        param_key: The key of the checkpoint under which the weights are; None for the EMA's if there are any.
        device: `cpu`, `cuda`, `mps`, or `auto` for a CUDA GPU if there is one that works and the engine can use it.
        precision: What the network computes in: `fp32`, `bf16` or `fp16`. Input and output are float32 in any case. Where the
            network fails in a short type on a small image, a warning says so and it computes in float32.
        engine: `torch`; `compile`, torch.compile, which takes its time at the first image; `openvino` or `onnxruntime`,
            which compute on the CPU.
        log: Is called with a line that says which weights of a checkpoint are taken, as for `build_network`.

    Raises:
        VapsrError: There are no such weights, they are for another scale, or this machine or this installation cannot run
            them so.
    """
    for what, value, known in (('engine', engine, ENGINES), ('precision', precision, PRECISIONS),
                               ('device', device, DEVICES)):
        if value not in known:
            raise VapsrError(f'there is no {what} {value!r}: choose one of {", ".join(known)}')
    path = None if isinstance(weights, nn.Module) else find_weights(weights)
    if path and path.suffix in GRAPHS:
        return _graph_engine(path, scale, device, precision, engine)
    on_torch = engine in ('torch', 'compile')
    if not on_torch:
        _check_onnx(engine, device, path)
    network = described(weights if path is None else build_network(path, scale, param_key, log=log), scale)
    able = getattr(network, 'precisions', PRECISIONS)
    if precision not in able:
        raise VapsrError(f'{network.architecture} does not compute in {precision}: choose one of {", ".join(able)}')
    if on_torch:
        from vapsr_arch.engines import torch_engines
        make = torch_engines.TorchEngine if engine == 'torch' else torch_engines.CompiledEngine
        return make(network, _device(device, precision), precision, or_cpu=device == 'auto')
    return _onnx_engine(network, precision, engine)


def _device(device: str, precision: str) -> str:
    """The device that torch works on, `cpu`, `cuda` or `mps`.

    Raises:
        VapsrError: It is not there, or has no such precision.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise VapsrError('there is no CUDA GPU that torch can use here: choose the device cpu')
    if device == 'mps' and not torch.backends.mps.is_available():
        raise VapsrError('there is no GPU of a Mac that torch can use here (MPS): choose the device cpu')
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cpu' and precision == 'fp16' and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise VapsrError('torch has no fast fp16 on this CPU: choose the precision fp32, or the device cuda')
    return device


def _check_onnx(engine: str, device: str, path: Path | None) -> None:
    """Checks that a runtime of ONNX models can be used.

    Raises:
        VapsrError: It is not installed, or is asked to use a GPU.
    """
    if device in ('cuda', 'mps'):
        raise VapsrError(f'the engine {engine} computes on the CPU here: choose the engine torch or compile for a GPU')
    if importlib.util.find_spec(engine) is None:
        raise VapsrError(f'the engine {engine} is not installed: `pip install {engine}`')
    if importlib.util.find_spec('onnx') is None and not (path and path.suffix in GRAPHS):
        raise VapsrError(f'{path or "the network"} becomes an ONNX model first, for which onnx is not installed: `pip install '
                         f'onnx`')


def _graph_engine(path: Path, scale: int | None, device: str, precision: str, engine: str) -> Engine:
    if engine in ('torch', 'compile'):
        raise VapsrError(f'{path} is an exported network, which the engine {engine} does not read: choose the engine '
                         f'onnxruntime or openvino')
    _check_onnx(engine, device, path)
    from vapsr_arch.engines import onnx_engines
    made = (onnx_engines.OpenVinoEngine if engine == 'openvino' else onnx_engines.OnnxRuntimeEngine)(path, precision)
    if scale not in (None, made.scale):
        raise VapsrError(f'{path} holds a network for x{made.scale}, not x{scale}')
    return made


def _onnx_engine(network: nn.Module, precision: str, engine: str) -> Engine:
    from vapsr_arch.engines import onnx_engines
    from vapsr_arch.engines.forms import Form, first_sound, trial
    from vapsr_arch.engines.fused_onnx import fused_engine
    from vapsr_arch.engines.graph_forms import for_onnxruntime, for_openvino
    from vapsr_arch.engines.graphs import metadata, onnx_model
    rewrite, make = ((for_openvino, onnx_engines.OpenVinoEngine) if engine == 'openvino'
                     else (for_onnxruntime, onnx_engines.OnnxRuntimeEngine))
    forms = [Form(f'{make.NAME} in {kind}', kind, lambda kind=kind: make(onnx_model(rewrite(network), metadata(network)), kind))
             for kind in dict.fromkeys((precision, 'fp32'))]
    fused = fused_engine(network, precision, engine)
    if fused:
        forms.insert(0, Form(f'the fused attention block in {precision} with {make.NAME}', precision, lambda: fused))
    return first_sound(forms, *trial(network.eval()))
