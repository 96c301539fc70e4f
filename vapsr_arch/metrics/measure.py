"""What `val.metrics` of an option file measures of an image."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric

from vapsr_arch.metrics.pyiqa_metric import calculate_pyiqa, metric_of


def measure(image: np.ndarray, gt: np.ndarray, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of an image against its ground truth: H x W x 3, uint8, BGR.

    Args:
        image: The image.
        gt: The ground truth.
        metrics: `val.metrics`; `better` is for those who compare, and is not passed to the functions.
    """
    return {name: float(calculate_metric({'img': image, 'img2': gt}, arguments))
            for name, arguments in _arguments(metrics)}


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
