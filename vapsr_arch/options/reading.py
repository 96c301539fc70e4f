"""Option files, read and checked against the schema; faults are named by file and key."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from vapsr_arch.errors import OptionsError
from vapsr_arch.options.better import lower_is_better
from vapsr_arch.options.checks import cross_checks, list_checks
from vapsr_arch.options.faults import fault, nearest, shown
from vapsr_arch.options.schema import OWN_DATASETS, OWN_MODELS, DerivedDataset, ForeignDataset, Options
from vapsr_arch.options.yaml_files import override, read_yaml

_TAGS = ('own', 'foreign', 'steps', 'cosine')  # pydantic puts a union's choice into locations
# What pydantic says in words of Python.
_WORDS = {**dict.fromkeys(('model_type', 'dict_type', 'model_attributes_type'), 'must be a section'),
          'list_type': 'must be a list, such as [1, 2]'}


def _describe(path: str | os.PathLike, error: ValidationError, *section: str) -> Iterator[str]:
    for item in error.errors():
        place = [*section, *(str(part) for part in item['loc'] if part not in _TAGS and part != '[key]')]
        if item['type'] == 'unknown_keys':
            for key in item['ctx']['unknown']:
                yield fault(path, '.'.join([*place, str(key)]), 'unknown key' + nearest(key, item['ctx']['known']))
        elif item['type'] == 'missing':
            yield fault(path, '.'.join(place), 'is required')
        else:
            yield fault(path, '.'.join(place), f'{_WORDS.get(item["type"], item["msg"])}, not {shown(item["input"])}')


def _without_none(section: dict[str, Any]) -> dict[str, Any]:
    """A key left empty (`~`) means the same as a key left out; not so among the arguments of a class or a function."""
    return {key: value if key in ('datasets', 'metrics') or key.startswith('network_') or key.endswith('_opt')
            or not isinstance(value, dict) else _without_none(value) for key, value in section.items() if value is not None}


def _dataset_without_none(dataset: dict[str, Any]) -> dict[str, Any]:
    """The same for a data set; a third-party class may ask for what is empty."""
    foreign = dataset['type'] not in OWN_DATASETS
    return {key: value for key, value in dataset.items()
            if value is not None or (foreign and key not in ForeignDataset.model_fields)}


def derived_dataset_faults(path: str | os.PathLike, phase: str, dataset: dict[str, Any], scale: int, base: str) -> list[str]:
    """Checks a data set whose class is derived from one of this package, which is known once the plugins are imported.

    Its class may read other keys than that one does, so none is required.

    Args:
        path: The option file.
        phase: The data set's key under `datasets`.
        dataset: The data set.
        scale: The scale.
        base: The data set of this package that its class is derived from.

    Returns:
        The faults: a wrong value, or a key that looks like one of this package that is not given.
    """
    try:
        checked = DerivedDataset.model_validate({key: value for key, value in dataset.items() if value is not None},
                                                context={'open': True})
    except ValidationError as error:
        return list(_describe(path, error, 'datasets', phase))
    faults = [fault(path, key, text) for key, text in list_checks(phase, dataset, base)]
    if checked.gt_size and checked.gt_size % scale:
        faults.append(fault(path, f'datasets.{phase}.gt_size', f'{checked.gt_size} is not a multiple of the scale {scale}'))
    return faults


def _fill(options: dict[str, Any], is_train: bool) -> None:
    """Adds what BasicSR reads without asking whether it is there."""
    options.setdefault('num_gpu', 'auto')
    options.setdefault('path', {})
    if is_train:
        options['logger'].setdefault('use_tb_logger', False)
    else:
        options.setdefault('val', {})
    if 'val' in options:
        options['val'].setdefault('save_img', False)
        options['val'].setdefault('suffix', None)
        for metric in options['val'].get('metrics', {}).values():
            if lower_is_better(metric):  # BasicSR keeps the highest as the best otherwise
                metric.setdefault('better', 'lower')


def load_options(path: str | os.PathLike, is_train: bool, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads and checks an option file.

    Args:
        path: The YAML file.
        is_train: Whether it is for training or for testing.
        overrides: `SECTION:KEY=VALUE` entries that are set first.

    Returns:
        The options as BasicSR takes them.

    Raises:
        OptionsError: All faults found, a line each, with the file, the key and, for an unknown key, the nearest one.
    """
    raw = read_yaml(path)
    override(raw, overrides)
    where = f'{path} with --force_yml {shown(" ".join(overrides), quoted=False)}' if overrides else path
    try:
        model = Options.model_validate(raw, context={'open': raw.get('model_type') not in OWN_MODELS})
        options = _without_none(model.model_dump(exclude_unset=True))
        options['datasets'] = {phase: _dataset_without_none(dataset) for phase, dataset in options['datasets'].items()}
    except ValidationError as error:
        raise OptionsError('\n'.join(_describe(where, error))) from None
    faults = [fault(where, key, text) for key, text in cross_checks(options, is_train)]
    if faults:
        raise OptionsError('\n'.join(faults))
    _fill(options, is_train)
    return options
