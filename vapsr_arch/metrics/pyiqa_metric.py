"""Metrics of pyiqa (https://github.com/chaofengc/IQA-PyTorch), such as LPIPS, DISTS and NIQE, under BasicSR's interface."""

import contextlib
import functools
import io
import re
import sys
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.options.faults import nearest

_DOWNLOAD = re.compile(r'Downloading: "(.+?)" to (.+)')  # what pyiqa and torch.hub print


class _Recorder(io.StringIO):
    """Keeps what is written, and passes it on to standard error, for downloads show their progress there."""

    def write(self, text: str) -> int:
        sys.__stderr__.write(text)
        return super().write(text)


def calculate_pyiqa(img: np.ndarray, img2: np.ndarray, metric: str, crop_border: int = 0, **arguments: Any) -> float:
    """A metric of pyiqa: `lpips: {type: calculate_pyiqa, metric: lpips}` in `val.metrics`.

    Args:
        img: The image, H x W x 3, uint8, BGR.
        img2: Its ground truth, which metrics without reference, such as NIQE, do not look at.
        metric: The metric's name in pyiqa.
        crop_border: Pixels at each edge that are left out.
        **arguments: Of the metric, as for `pyiqa.create_metric`.

    Raises:
        OptionsError: pyiqa knows no such metric.
        VapsrError: pyiqa is not installed, or lacks the metric's weights.
    """
    network = metric_of(metric, **arguments)
    images = [_tensor(image, crop_border) for image in (img, img2)]
    with torch.no_grad():
        return float(network(*images[:1 if network.metric_mode == 'NR' else 2]))


def _tensor(image: np.ndarray, crop_border: int) -> Tensor:
    """RGB in [0, 1], 1 x 3 x H x W."""
    end = -crop_border or None
    image = image[crop_border:end, crop_border:end, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None] / 255


@functools.cache
def metric_of(metric: str, **arguments: Any) -> nn.Module:
    """A metric of pyiqa, with its weights, on the GPU if there is one.

    Raises:
        OptionsError: pyiqa knows no such metric.
        VapsrError: pyiqa is not installed, or the metric's weights are not here and cannot be downloaded.
    """
    try:
        import pyiqa
    except ModuleNotFoundError as error:
        what = 'pyiqa is' if error.name == 'pyiqa' else f'pyiqa needs {error.name}, which is'
        raise VapsrError(f'the metric {metric}: {what} not installed: `pip install '
                         f'{"pyiqa" if error.name == "pyiqa" else error.name}`, or install this package with the extra '
                         f'[metrics]') from None
    if metric not in pyiqa.list_models():
        raise OptionsError(f'pyiqa has no metric {metric}{nearest(metric, pyiqa.list_models())}')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    printed: TextIO = _Recorder()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            return pyiqa.create_metric(metric, device=torch.device(device), **arguments)
        except Exception as error:  # whatever pyiqa and its networks raise
            downloads = _DOWNLOAD.findall(printed.getvalue())
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if not downloads:
                raise VapsrError(f'the metric {metric}: pyiqa cannot build it: {reason}') from None
            url, path = downloads[-1]
            raise VapsrError(f'the metric {metric} needs {url.rpartition("/")[2]}, which cannot be downloaded ({reason}): '
                             f'get it from {url} and put it at {path.strip()}') from None
