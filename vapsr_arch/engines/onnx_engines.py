"""Engines that run ONNX models on the CPU: ONNX Runtime and OpenVINO, with as many threads as torch has."""

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vapsr_arch.archs.common.checks import check_input
from vapsr_arch.engines.graph_files import KEYS, check_graph, first_line, numbers_of
from vapsr_arch.errors import VapsrError

PROBE = 64  # height and width of the image that shows a third-party model's scale


class _OnnxEngine:
    """What both engines share: the model's facts, from its metadata or, for third-party models, from a trial.

    Args:
        model: A file, or a model's bytes.
        precision: What to compute in.

    Raises:
        VapsrError: The model cannot be read, is none for images of any size, or is not for this precision.
    """

    side_by_side = False  # the runtimes have threads of their own

    def __init__(self, model: Path | bytes, precision: str) -> None:
        self.name = str(model) if isinstance(model, Path) else 'the exported network'
        if precision not in self.MODEL.precisions():
            raise VapsrError(f'{self.NAME} does not compute in {precision} on this CPU: choose one of '
                             f'{", ".join(self.MODEL.precisions())}')
        if isinstance(model, Path):
            check_graph(model, self.NAME)
        try:
            self.run = self.MODEL(model, precision)
            shape, metadata = self.run.facts()
        except Exception as error:  # each runtime has its own kinds of error
            raise VapsrError(f'{self.name} is not a model that {self.NAME} can run: {first_line(error)}') from None
        if len(shape) != 4 or not isinstance(shape[1], int):
            raise VapsrError(f'{self.name} does not take one batch of images, N x C x H x W, but {list(shape)}')
        if isinstance(shape[2], int) or isinstance(shape[3], int):
            raise VapsrError(f'{self.name} takes images of one size only: export it with a dynamic height and width')
        self.num_in_ch = shape[1]
        scale, self.min_size, self.halo = numbers_of(metadata, self.name)
        self.scale = self._probe() if isinstance(model, Path) or scale is None else scale
        if scale not in (None, self.scale):
            raise VapsrError(f'{self.name}: its metadata is damaged: it says x{scale}, but it upscales by x{self.scale}')
        self.tiles = metadata.get('tiles') != 'no'

    def _probe(self) -> int:
        """The scale that an image is upscaled by; one is tried."""
        side = -(-max(PROBE, self.min_size) // PROBE) * PROBE
        try:
            shape = self.run(np.zeros((1, self.num_in_ch, side, side), np.float32)).shape
        except Exception as error:
            raise VapsrError(f'{self.name} does not upscale an image of {side}x{side} pixels: {first_line(error)}') from None
        if len(shape) != 4 or shape[:2] != (1, self.num_in_ch):
            raise VapsrError(f'{self.name} makes {"x".join(map(str, shape))} of 1x{self.num_in_ch}x{side}x{side}: that is no '
                             f'image of {self.num_in_ch} channels')
        height, width = shape[2:]
        if height != width or height % side or not height:
            raise VapsrError(f'{self.name} makes {width}x{height} pixels of {side}x{side}: that is no upscaling by an integer')
        return height // side

    def __call__(self, x: Tensor) -> Tensor:
        check_input(self.name, x, self.num_in_ch, self.min_size)
        return torch.from_numpy(self.run(x.numpy(force=True)))


class OnnxRuntimeModel:
    """A model that ONNX Runtime has prepared for the CPU. Threads may share it.

    Args:
        model: A file, or a model's bytes.
        precision: One of `precisions`.
    """

    @staticmethod
    def precisions() -> Sequence[str]:
        return ('fp32',)

    def __init__(self, model: Path | bytes, precision: str) -> None:
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def facts(self) -> tuple[Sequence[int | str], Mapping[str, str]]:
        """The shape of the first input, with names or `?` where it is dynamic, and the metadata."""
        return self.session.get_inputs()[0].shape, self.session.get_modelmeta().custom_metadata_map

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        names = [given.name for given in self.session.get_inputs()]
        return self.session.run(None, dict(zip(names, inputs)))[0]


class OpenVinoModel:
    __doc__ = OnnxRuntimeModel.__doc__.replace('ONNX Runtime has prepared', 'OpenVINO has compiled')
    HINTS: ClassVar[Mapping[str, str]] = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16'}

    @staticmethod
    def precisions() -> Sequence[str]:
        able = openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        return [precision for precision in OpenVinoModel.HINTS if precision.upper() in able]

    def __init__(self, model: Path | bytes, precision: str) -> None:
        core = openvino_core()
        self.graph = core.read_model(model)
        self.compiled = core.compile_model(self.graph, 'CPU', {
            'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'INFERENCE_PRECISION_HINT': self.HINTS[precision]})
        self.local = threading.local()  # a request serves one thread

    def facts(self) -> tuple[Sequence[int | str], Mapping[str, str]]:
        """The shape of the first input, with names or `?` where it is dynamic, and the metadata."""
        # Where the ONNX reader puts metadata.
        keys = [key for key in (*KEYS, 'tiles') if self.graph.has_rt_info(['framework', key])]
        shape = [side.get_length() if side.is_static else '?' for side in self.graph.inputs[0].partial_shape]
        return shape, {key: self.graph.get_rt_info(['framework', key]).astype(str) for key in keys}

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        if not hasattr(self.local, 'request'):
            self.local.request = self.compiled.create_infer_request()
        # The request keeps its output's memory, for the next one.
        return self.local.request.infer(inputs, share_inputs=True, share_outputs=True)[0].copy()


class OnnxRuntimeEngine(_OnnxEngine):
    __doc__ = _OnnxEngine.__doc__.replace('What both engines share', 'ONNX Runtime')
    NAME = 'ONNX Runtime'
    MODEL = OnnxRuntimeModel


class OpenVinoEngine(_OnnxEngine):
    __doc__ = _OnnxEngine.__doc__.replace('What both engines share', 'OpenVINO')
    NAME = 'OpenVINO'
    MODEL = OpenVinoModel


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's entry point, one for the life of the process.

    OpenVINO gives a thread a stack for its signal handlers and frees it with the core, whichever thread that happens in: the
    next signal that Python handles would then end the process with SIGSEGV.
    """
    import openvino
    return openvino.Core()
