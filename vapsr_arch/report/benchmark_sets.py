"""The images of a benchmark: HR, LR and bicubic of each, as the networks get them and as they are measured."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from basicsr.utils import tensor2img
from basicsr.utils.registry import DATASET_REGISTRY

from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.pipeline.registration import REPLACEMENTS
from vapsr_arch.report.records import data_state


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
        self.state = data_state(options)  # differs when the files have changed
        kind = DATASET_REGISTRY.get(REPLACEMENTS.get(options['type'], options['type']))
        self._dataset = kind({**options, 'phase': 'test', 'scale': scale})

    @functools.cached_property
    def _paths(self) -> list[tuple[str, str]]:
        samples = (self._dataset[index] for index in range(len(self._dataset)))
        return [(sample['lq_path'], sample['gt_path']) for sample in samples]

    @property
    def names(self) -> list[str]:
        """The images' names, those of the LR images, in the order in which they are tested."""
        return [Path(lq).stem for lq, _ in self._paths]

    @property
    def hr_names(self) -> list[str]:
        """The names of the HR images."""
        return [Path(gt).stem for _, gt in self._paths]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> BenchmarkImage:
        sample = self._dataset[index]
        hr, lr = tensor2img(sample['gt']), tensor2img(sample['lq'])
        return BenchmarkImage(Path(sample['lq_path']).stem, hr, lr, imresize(lr, self.scale))

    def find(self, name: str) -> BenchmarkImage:
        """The image of that name."""
        return self[self.names.index(name)]
