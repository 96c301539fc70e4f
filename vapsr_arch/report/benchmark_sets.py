"""The images of a benchmark: HR, LR and bicubic of each, as the networks get them and as they are measured."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import DATASET_REGISTRY

from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.pipeline.registration import REPLACEMENTS


class BenchmarkImage(NamedTuple):
    """One image: H x W x 3, uint8, BGR."""

    name: str
    hr: np.ndarray
    lr: np.ndarray
    bicubic: np.ndarray


class BenchmarkSet:
    """A set of an option file's `datasets`.

    Args:
        options: The set's section: name, type, roots.
        scale: The scale.

    Raises:
        VapsrError: The images are missing, damaged or do not fit one another.
    """

    def __init__(self, options: Mapping[str, Any], scale: int) -> None:
        self.name: str = options['name']
        self.scale = scale
        kind = DATASET_REGISTRY.get(REPLACEMENTS.get(options['type'], options['type']))
        self._dataset = kind({**options, 'phase': 'test', 'scale': scale})

    @functools.cached_property
    def names(self) -> list[str]:
        """The images' names, in the order in which they are tested."""
        return [Path(self._dataset[index]['lq_path']).stem for index in range(len(self._dataset))]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> BenchmarkImage:
        sample = self._dataset[index]
        hr, lr = tensor2img(sample['gt']), tensor2img(sample['lq'])
        return BenchmarkImage(Path(sample['lq_path']).stem, hr, lr, imresize(lr, self.scale))

    def find(self, name: str) -> BenchmarkImage:
        """The image of that name."""
        return self[self.names.index(name)]


def measure(image: np.ndarray, hr: np.ndarray, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """An option file's `val.metrics` of an image against its HR image: H x W x 3, uint8, BGR."""
    return {name: float(calculate_metric({'img': image, 'img2': hr}, dict(options))) for name, options in metrics.items()}
