"""What `val.metrics` of an option file measures of an image."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric

from vapsr_arch.errors import VapsrError
from vapsr_arch.metrics.pyiqa_metric import calculate_pyiqa, metric_of

_SMALLEST = {'calculate_psnr': 1, 'calculate_ssim': 11}  # pixels of a side within crop_border that they need
_NIQE_BLOCK = 96  # pixels of a side; of one block alone, NIQE has no covariance


def check_size(height: int, width: int, name: str, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that an image is large enough for BasicSR's metrics, which end in errors of other libraries or in NaN.

    Raises:
        VapsrError: It is not.
    """
    for metric, arguments in metrics.items():
        kind, border = arguments['type'], arguments.get('crop_border', 0)
        sides = [side - 2 * border for side in (height, width)]
        needed = None
        if kind == 'calculate_niqe' and (max(sides) < 2 * _NIQE_BLOCK or min(sides) < _NIQE_BLOCK):
            needed = f'{_NIQE_BLOCK}x{2 * _NIQE_BLOCK}'
        elif min(sides) < _SMALLEST.get(kind, 0):
            needed = f'{_SMALLEST[kind]}x{_SMALLEST[kind]}'
        if needed:
            raise VapsrError(f'{name} is {height}x{width}, too small for val.metrics.{metric}: {kind} needs {needed} pixels '
                             f'within a crop_border of {border}: leave the metric or the image out')


def measure(image: np.ndarray, gt: np.ndarray, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of an image against its ground truth: H x W x 3, uint8, BGR.

    Args:
        image: The image.
        gt: The ground truth.
        metrics: `val.metrics`; `better` is for those who compare, and is not passed to the functions.

    Returns:
        By name; NaN for the NIQE of an image without any detail.
    """
    return {name: _value(image, gt, arguments) for name, arguments in _arguments(metrics)}


def _value(image: np.ndarray, gt: np.ndarray, arguments: dict[str, Any]) -> float:
    try:
        return float(calculate_metric({'img': image, 'img2': gt}, arguments))
    except np.linalg.LinAlgError:
        if arguments['type'] == 'calculate_niqe':  # basicsr/metrics/niqe.py:136 inverts a covariance that is not there
            return math.nan
        raise


def prepare_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Loads what the metrics need, so that what is missing is found before hours of work.

    Raises:
        VapsrError: pyiqa is not installed, knows no such metric, or lacks its weights.
    """
    for _, arguments in _arguments(metrics):
        if arguments.pop('type') == calculate_pyiqa.__name__:
            arguments.pop('crop_border', None)
            metric_of(**arguments)


def _arguments(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, options in metrics.items():
        yield name, {key: value for key, value in options.items() if key != 'better'}
