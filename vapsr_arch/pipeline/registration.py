"""Registers what this package has with BasicSR: networks, a model, data sets, a metric; and looks names up in its registries."""

import functools
from collections.abc import Callable
from typing import Any

from vapsr_arch.archs import AUTHORS_NAMES, NETWORKS
from vapsr_arch.basicsr_imports import make_basicsr_importable

# What the commands of this package use where an option file names BasicSR's own class.
REPLACEMENTS = {
    'SRModel': 'VapSRModel',
    'PairedImageDataset': 'CheckedPairedImageDataset',
    'SingleImageDataset': 'CheckedSingleImageDataset',
}


@functools.cache
def register() -> None:
    """Makes BasicSR importable and registers everything of this package; a second call does nothing.

    The names that the authors of a network used are registered with BasicSR's own suffix for second names, so that their
    modules can be imported before or after this one, and win.
    """
    make_basicsr_importable()
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

    from vapsr_arch.data.image_datasets import CheckedPairedImageDataset, CheckedSingleImageDataset
    from vapsr_arch.data.paired_pack_dataset import PairedPackDataset
    from vapsr_arch.metrics.pyiqa_metric import calculate_pyiqa
    from vapsr_arch.models.vapsr_model import VapSRModel
    for network in NETWORKS.values():
        ARCH_REGISTRY.register(network)
    for authors_name, name in AUTHORS_NAMES.items():
        ARCH_REGISTRY.register(type(authors_name, (NETWORKS[name],), {}), suffix='basicsr')
    MODEL_REGISTRY.register(VapSRModel)
    METRIC_REGISTRY.register(calculate_pyiqa)
    for dataset in (CheckedPairedImageDataset, CheckedSingleImageDataset, PairedPackDataset):
        DATASET_REGISTRY.register(dataset)


def registered(registry: Any) -> dict[str, Callable]:
    """The callables of one of BasicSR's registries by the names an option file may use."""
    return {name.removesuffix('_basicsr'): value for name, value in registry}


def own_name(name: str) -> str:
    """The name of this package's network that an authors' name stands for, unless the authors' own module is imported."""
    from basicsr.utils.registry import ARCH_REGISTRY
    return AUTHORS_NAMES[name] if name in AUTHORS_NAMES and name not in ARCH_REGISTRY else name
