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
from vapsr_arch.errors import VapsrError

KEYS = ('scale', 'min_size', 'halo')  # of the metadata that is needed to run a model
PROBE = 64  # height and width of the image that tells a foreign model's scale


class _OnnxEngine:
    """What both engines share: the model's facts, from its metadata or, of foreign models, from a trial.

    Args:
        model: A file, or a model's bytes.
        precision: What to compute in.

    Raises:
        VapsrError: The model cannot be read, is none for images of any size, or is not for this precision.
    """

    def __init__(self, model: Path | bytes, precision: str) -> None:
        self.name = str(model) if isinstance(model, Path) else 'the exported network'
        if precision not in self.MODEL.precisions():
            raise VapsrError(f'{self.NAME} does not compute in {precision} on this CPU: choose one of '
                             f'{", ".join(self.MODEL.precisions())}')
        try:
            self.run = self.MODEL(model, precision)
            shape, metadata = self.run.facts()
        except Exception as error:  # each runtime has its own kinds
            raise VapsrError(f'{self.name} is not a model that {self.NAME} can run: {_first_line(error)}') from None
        if len(shape) != 4 or not isinstance(shape[1], int):
            raise VapsrError(f'{self.name} does not take one batch of images, N x C x H x W, but {list(shape)}')
        if isinstance(shape[2], int) or isinstance(shape[3], int):
            raise VapsrError(f'{self.name} takes images of one size only: export it with a dynamic height and width')
        self.num_in_ch = shape[1]
        if all(key in metadata for key in KEYS):
            self.scale, self.min_size = int(metadata['scale']), int(metadata['min_size'])
            self.halo = int(metadata['halo']) if metadata['halo'].isdecimal() else None
        else:
            self.min_size, self.halo = 1, None
            self.scale = self._probe()
        self.tiles = metadata.get('tiles') != 'no'

    def _probe(self) -> int:
        try:
            height, width = self.run(np.zeros((1, self.num_in_ch, PROBE, PROBE), np.float32)).shape[2:]
        except Exception as error:
            raise VapsrError(f'{self.name} does not enlarge an image of {PROBE}x{PROBE} pixels: {_first_line(error)}') from None
        if height != width or height % PROBE:
            raise VapsrError(f'{self.name} makes {width}x{height} pixels of {PROBE}x{PROBE}: that is no enlargement by an '
                             f'integer')
        return height // PROBE

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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition('\n')[0]
