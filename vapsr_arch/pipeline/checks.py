"""Checks what `type` names in an option file, and its arguments, against BasicSR's registries and torch."""

import inspect
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from vapsr_arch.archs import NETWORKS
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.options.faults import fault, nearest, shown
from vapsr_arch.options.reading import derived_dataset_faults
from vapsr_arch.options.schema import OWN_DATASETS, OWN_MODELS, losses_of
from vapsr_arch.pipeline.model_checks import loss_faults, model_faults, training_faults
from vapsr_arch.pipeline.networks import ADAPTATIONS, SPANDREL, network_class, parameters_of
from vapsr_arch.pipeline.plugins import names_class_of_file
from vapsr_arch.pipeline.registration import REPLACEMENTS, registered
from vapsr_arch.pipeline.repositories import is_pips

_WIDEST = 1024  # features, blocks and whatever else the networks of this package count
_OWN = '; one of your own comes by plugins:'


def _argument_faults(function: Callable, arguments: dict[str, Any], given: set[str], also: set[str]) -> Iterator[str]:
    """What is wrong with the names of keyword arguments; `given` are passed by BasicSR, `also` may be there."""
    parameters = {name: parameter for name, parameter in parameters_of(function).items() if name not in given}
    # BasicSR's metrics take any keyword and ignore it; another function may have a use for it.
    takes_any = not is_pips(function.__module__) and any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(function).parameters.values())
    for name in arguments:
        if name not in parameters and name not in also and not takes_any:
            yield f'{name}: unknown key' + nearest(name, {*parameters, *also})
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments:
            yield f'{name}: is required'


def _named(options: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Callable]]]:
    """What is named without arguments that could be checked: (key, name, those known)."""
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
    yield 'model_type', options['model_type'], registered(MODEL_REGISTRY)
    for phase, dataset in options['datasets'].items():
        yield f'datasets.{phase}.type', dataset['type'], registered(DATASET_REGISTRY)


def _called(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Callable], set[str], set[str]]]:
    """What is called with arguments: (key, section, those known, arguments that BasicSR passes, keys that may be there)."""
    from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY

    from vapsr_arch.models.schedules import known_optimizers, known_schedulers
    train = options.get('train', {})
    for name, loss in losses_of(train).items():
        yield f'train.{name}', loss, registered(LOSS_REGISTRY), set(), set()
    for name, metric in options.get('val', {}).get('metrics', {}).items():
        yield f'val.metrics.{name}', metric, registered(METRIC_REGISTRY), {'img', 'img2'}, {'better'}
    for name in [name for name in train if name.startswith('optim_')]:
        yield f'train.{name}', train[name], known_optimizers(), {'params'}, set()
    if train:
        yield 'train.scheduler', train['scheduler'], known_schedulers(), {'optimizer', 'last_epoch'}, set()


def _network_faults(path: str | os.PathLike, key: str, network: dict[str, Any]) -> list[str]:
    from basicsr.utils.registry import ARCH_REGISTRY
    arguments = {name: value for name, value in network.items() if name != 'type'}
    name = network['type']
    if name == SPANDREL:
        return [fault(path, f'{key}.{argument}', 'the checkpoint determines it: leave it out') for argument in arguments]
    known = {name: value for name, value in registered(ARCH_REGISTRY).items() if not name.endswith('(adapted)')}
    if not names_class_of_file(name) and name not in known:
        return [fault(path, f'{key}.type', f'{name} is not registered' + nearest(name, known)
                      + '; a network of your own comes by plugins: or as path/to/file.py:ClassName')]
    function = network_class(name)
    wrong = [*_adaptation_faults(path, key, {name: arguments[name] for name in ADAPTATIONS
                                             if name in arguments and name not in parameters_of(function)})]
    wrong += [f'{path}: {key}.{text}' for text in _argument_faults(function, arguments, set(), set(ADAPTATIONS))]
    own = isinstance(function, type) and issubclass(function, tuple(NETWORKS.values()))
    if own:
        wrong += [fault(path, f'{key}.{argument}', f'must be at most {_WIDEST:,}, not {shown(value)}')
                  for argument, value in arguments.items() if isinstance(value, int) and value > _WIDEST]
    if not wrong and (own or function.__module__ == 'basicsr.archs.discriminator_arch'):
        try:
            with torch.device('meta'):  # shapes only, no memory; others' networks may not bear it
                function(**{name: value for name, value in arguments.items() if name not in ADAPTATIONS})
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            wrong = [fault(path, key, str(error))]
    return wrong


def _adaptation_faults(path: str | os.PathLike, key: str, given: dict[str, Any]) -> Iterator[str]:
    img_range, size_multiple = (given.get(name, 1) for name in ADAPTATIONS)
    if type(img_range) not in (int, float) or not 0 < img_range < math.inf:
        yield fault(path, f'{key}.img_range', f'must be a number above 0, such as 255, not {shown(img_range)}')
    if type(size_multiple) is not int or not 1 <= size_multiple <= _WIDEST:
        yield fault(path, f'{key}.size_multiple', f'must be a whole number from 1 to {_WIDEST:,}, not {shown(size_multiple)}')


def _channel_faults(path: str | os.PathLike, options: dict[str, Any]) -> Iterator[str]:
    """A network of this package or of BasicSR for other images than the data sets have.

    Models of others may give a network more than the image, and what others' networks call so may mean something else.
    """
    network = options['network_g']
    if options['model_type'] not in OWN_MODELS or network['type'] == SPANDREL:
        return
    function = network_class(network['type'])
    if not function.__module__.startswith(('vapsr_arch.', 'basicsr.')):
        return
    parameters = parameters_of(function)
    for phase, dataset in options['datasets'].items():
        channels = 1 if dataset.get('color') == 'y' else 3
        for name in ('num_in_ch', 'num_out_ch'):
            value = network.get(name, parameters[name].default if name in parameters else channels)
            if dataset['type'] in OWN_DATASETS and isinstance(value, int) and value != channels:
                advice = f'set it to {channels}' + ', or color: y in all sets' * (value == 1)
                yield fault(path, f'network_g.{name}',
                            f'is {value}, but images of datasets.{phase} have {channels} channel{"s"[:channels - 1]}: {advice}')


def _base_of(name: str) -> str | None:
    """The data set of this package that a `type` is a class derived from, if it is."""
    from basicsr.utils.registry import DATASET_REGISTRY
    known = registered(DATASET_REGISTRY)
    if name in OWN_DATASETS or not isinstance(known.get(name), type):
        return None
    return next((own for own in OWN_DATASETS if issubclass(known[name], known[REPLACEMENTS.get(own, own)])), None)


def check_types(path: str | os.PathLike, options: dict[str, Any]) -> None:
    """Checks every name and every argument that can be known, once the plugins are imported.

    Raises:
        OptionsError: All faults found, a line each: an unknown name with the nearest one, an unknown or missing argument,
            or the reason why the network refuses its arguments.
        VapsrError: A file that a network comes from cannot be imported.
    """
    faults = []
    for key, name, known in _named(options):
        if name not in known:
            faults.append(fault(path, key, f'{name} is not registered' + nearest(name, known) + _OWN))
    for phase, dataset in options['datasets'].items():
        if base := _base_of(dataset['type']):
            faults += derived_dataset_faults(path, phase, dataset, options['scale'], base)
    for key in [key for key in options if key.startswith('network_')]:
        faults += _network_faults(path, key, options[key])
    for key, entry, known, given, also in _called(options):
        arguments = {name: value for name, value in entry.items() if name != 'type'}
        if entry['type'] not in known:
            own = '' if key.startswith(('train.optim_', 'train.scheduler')) else _OWN  # which no registry has
            faults.append(fault(path, f'{key}.type', f'{entry["type"]} is not registered' + nearest(entry['type'], known) + own))
        else:
            faults += [f'{path}: {key}.{text}' for text in _argument_faults(known[entry['type']], arguments, given, also)]
    faults += [*loss_faults(path, options), *model_faults(path, options)]
    if not faults:
        faults += _channel_faults(path, options)
    if not faults and 'train' in options:
        faults += training_faults(path, options['train'])
    spandrel = [key for key in options if key.startswith('network_') and options[key]['type'] == SPANDREL]
    for key in spandrel:
        if 'train' in options:
            faults.append(fault(path, f'{key}.type', 'Spandrel is for tests: to train, name the network itself'))
        elif not options['path'].get(f'pretrain_{key}'):
            faults.append(fault(path, f'path.pretrain_{key}', 'is required: the checkpoint determines the network'))
    if faults:
        raise OptionsError('\n'.join(faults))


def check_wandb(options: dict[str, Any]) -> None:
    """Checks that wandb can be used where the options ask for it.

    Raises:
        OptionsError: It is not installed, or TensorBoard, whose curves it follows, is off.
    """
    logger = options.get('logger', {})
    if not logger.get('wandb', {}).get('project'):
        return
    if not logger.get('use_tb_logger'):
        raise OptionsError('logger.wandb: it follows the curves of TensorBoard: set logger.use_tb_logger: true')
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise OptionsError(f'logger.wandb: wandb cannot be imported ({error}): `pip install wandb`, or leave logger.wandb '
                           f'out') from None


def unchecked_keys(options: dict[str, Any]) -> Iterator[str]:
    """Sentences about keys that only a third-party class knows, and that are therefore checked against nothing."""
    from vapsr_arch.options.schema import Dataset, ForeignDataset, Options, Train
    for phase, dataset in options['datasets'].items():
        if dataset['type'] not in OWN_DATASETS:
            known = Dataset if _base_of(dataset['type']) else ForeignDataset
            keys = [key for key in dataset if key not in known.model_fields]
            if keys:
                yield f'datasets.{phase}: not checked, being {dataset["type"]}\'s own: {", ".join(keys)}'
    if options['model_type'] not in OWN_MODELS:
        keys = [key for key in options if key not in Options.model_fields and not key.startswith('network_')]
        train = options.get('train', {})
        keys += [f'train.{key}' for key in train if key not in Train.model_fields and not key.endswith('_opt')
                 and not key.startswith('optim_')]
        if keys:
            yield f'not checked, being {options["model_type"]}\'s own: {", ".join(keys)}'


def model_class(name: str) -> type:
    """The model class that a `model_type` stands for in the commands of this package."""
    from basicsr.utils.registry import MODEL_REGISTRY
    models = registered(MODEL_REGISTRY)
    name = REPLACEMENTS.get(name, name)
    if name not in models:
        raise VapsrError(f'model_type: {name} is not registered' + nearest(name, models) + _OWN)
    return models[name]
