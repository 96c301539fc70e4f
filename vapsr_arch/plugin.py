"""Loads the plugin into BasicSR: mends BasicSR for today's torch and registers the networks, the model and the data sets.

For a training script of one's own: `import vapsr_arch.plugin; vapsr_arch.plugin.load()`, before anything is built.
"""

import argparse
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from vapsr_arch import compat
from vapsr_arch.archs import AUTHORS_NAMES, NETWORKS
from vapsr_arch.distributed import init_dist
from vapsr_arch.errors import OptionsError
from vapsr_arch.options import fault, load_options, nearest

# What the commands of this plugin use where an option file names BasicSR's own class.
REPLACEMENTS = {
    'SRModel': 'VapSRModel',
    'PairedImageDataset': 'CheckedPairedImageDataset',
    'SingleImageDataset': 'CheckedSingleImageDataset',
}


@functools.cache
def load() -> None:
    """Mends BasicSR and registers everything of this package; a second call does nothing.

    The names that the authors of a network used are registered with BasicSR's own suffix for second names, so that their
    modules can be imported before or after this one, and win.
    """
    compat.mend_imports()
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

    from vapsr_arch.data.image_datasets import CheckedPairedImageDataset, CheckedSingleImageDataset
    from vapsr_arch.data.paired_pack_dataset import PairedPackDataset
    from vapsr_arch.models.vapsr_model import VapSRModel
    for network in NETWORKS.values():
        ARCH_REGISTRY.register(network)
    for authors_name, name in AUTHORS_NAMES.items():
        ARCH_REGISTRY.register(type(authors_name, (NETWORKS[name],), {}), suffix='basicsr')
    MODEL_REGISTRY.register(VapSRModel)
    DATASET_REGISTRY.register(CheckedPairedImageDataset)
    DATASET_REGISTRY.register(CheckedSingleImageDataset)
    DATASET_REGISTRY.register(PairedPackDataset)
    compat.mend_pipelines()
    import basicsr.test
    import basicsr.train
    basicsr.train.parse_options = basicsr.test.parse_options = parse_options


def registered(registry: Any) -> dict[str, Callable]:
    """The callables of one of BasicSR's registries by the names an option file may use."""
    return {name.removesuffix('_basicsr'): value for name, value in registry}


def _argument_faults(function: Callable, arguments: dict[str, Any], given: set[str], also: set[str]) -> Iterator[str]:
    """What is wrong with the names of keyword arguments; `given` are passed by BasicSR, `also` may be there."""
    parameters = {name: parameter for name, parameter in inspect.signature(function).parameters.items()
                  if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and name not in given}
    for name in arguments:
        if name not in parameters and name not in also:
            yield f'{name}: unknown key' + nearest(name, [*parameters, *also])
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments:
            yield f'{name}: is required'


def check_types(path: str | os.PathLike, options: dict[str, Any]) -> None:
    """Checks what `type` names, and its arguments, against the registries and the callables' signatures.

    Raises:
        OptionsError: All faults found, a line each: an unknown name with the nearest one, an unknown or missing argument,
            or the reason why the network refuses its arguments.
    """
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY
    train = options.get('train', {})
    metrics = options.get('val', {}).get('metrics', {})
    entries = [('network_g', options['network_g'], ARCH_REGISTRY, set(), set())]
    entries += [(f'train.{name}', train[name], LOSS_REGISTRY, set(), set())
                for name in ('pixel_opt', 'perceptual_opt') if name in train]
    entries += [(f'val.metrics.{name}', metric, METRIC_REGISTRY, {'img', 'img2'}, {'better'})
                for name, metric in metrics.items()]
    faults = []
    for key, entry, registry, given, also in entries:
        arguments = {name: value for name, value in entry.items() if name != 'type'}
        known = registered(registry)
        if entry['type'] not in known:
            faults.append(fault(path, f'{key}.type', f'{entry["type"]} is not registered' + nearest(entry['type'], known)))
            continue
        function = known[entry['type']]
        wrong = [f'{path}: {key}.{text}' for text in _argument_faults(function, arguments, given, also)]
        if not wrong and key == 'network_g' and issubclass(function, tuple(NETWORKS.values())):
            try:
                with torch.device('meta'):  # shapes only, no memory; others' networks may not bear it
                    function(**arguments)
            except (TypeError, ValueError) as error:
                wrong = [fault(path, key, str(error))]
        faults += wrong
    if faults:
        raise OptionsError('\n'.join(faults))


def check_devices(path: str | os.PathLike, options: dict[str, Any], launcher: str) -> bool:
    """Checks that the GPUs asked for are there; whether there are any to work on.

    Raises:
        OptionsError: They are not.
    """
    present = torch.cuda.device_count()
    num_gpu = present if options['num_gpu'] == 'auto' else options['num_gpu']
    if num_gpu > present and (launcher == 'none' or not present):  # with a launcher, some may be on other machines
        raise OptionsError(fault(path, 'num_gpu', f'{num_gpu} asked for, but torch finds {present} CUDA GPUs here; `auto` '
                                                  f'uses what is there, 0 is the CPU'))
    if num_gpu == 0 and options['datasets'].get('train', {}).get('prefetch_mode') == 'cuda':
        raise OptionsError(fault(path, 'datasets.train.prefetch_mode', 'cuda needs a GPU; leave it empty on a CPU'))
    return num_gpu > 0


def _replace_types(options: dict[str, Any]) -> None:
    for section, key in [(options, 'model_type'), *((dataset, 'type') for dataset in options['datasets'].values())]:
        if section[key] in REPLACEMENTS:
            print(f'{section[key]}: {REPLACEMENTS[section[key]]} takes its place')
            section[key] = REPLACEMENTS[section[key]]


def _prefetch(dataset: dict[str, Any]) -> None:
    """Has batches copied to the GPU ahead, which takes pinned memory, unless a data set's options say otherwise."""
    if dataset.setdefault('pin_memory', True):
        dataset.setdefault('prefetch_mode', 'cuda')


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """BasicSR's parse_options, given options that were read safely and checked.

    basicsr/utils/options.py:90 reads YAML with a loader that executes Python tags, knows `--local_rank` but not the
    `--local-rank` of today's torch.distributed.launch, and sets what `--force_yml` names with exec and eval.
    """
    from basicsr.utils import options as basicsr_options
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt', required=True)
    parser.add_argument('--local-rank', '--local_rank', dest='local_rank', default='0')
    parser.add_argument('--launcher', default='none')
    parser.add_argument('--force_yml', nargs='+', default=[])
    known, others = parser.parse_known_args()

    options = load_options(known.opt, is_train, known.force_yml)
    check_types(known.opt, options)
    on_gpu = check_devices(known.opt, options, known.launcher)
    if on_gpu and 'train' in options['datasets']:
        _prefetch(options['datasets']['train'])
    _replace_types(options)
    meeting = {name: value for name, value in options.get('dist_params', {}).items() if name != 'backend'}
    argv = [sys.argv[0], '-opt', known.opt, '--launcher', known.launcher, '--local_rank', known.local_rank, *others]
    with (mock.patch.object(sys, 'argv', argv),
          mock.patch.object(basicsr_options, 'yaml', SimpleNamespace(load=lambda file, Loader: options)),
          mock.patch.object(basicsr_options, 'ordered_yaml', lambda: (None, None)),
          mock.patch.object(basicsr_options, 'init_dist', lambda launcher, **_: init_dist(launcher, on_gpu, **meeting))):
        seed_given = 'manual_seed' in options  # BasicSR draws one otherwise
        parsed, arguments = basicsr_options.parse_options(root_path, is_train)
        return parsed | {'seed_given': seed_given}, arguments
