"""Option files: YAML read safely, checked against `option_schema`, faults named by file and key."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from vapsr_arch.errors import OptionsError
from vapsr_arch.option_schema import Options

# What YAML 1.1 leaves a string for want of a dot, and Python calls a number: 1e-3.
_FLOAT = re.compile(r'^[-+]?[0-9]+[eE][-+]?[0-9]+$')
_TAGS = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')  # pydantic puts a union's choice into locations


class _Loader(yaml.SafeLoader):
    """YAML without Python tags; `1e-3` is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f'the key {key!r} is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', _FLOAT, list('-+0123456789'))


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        OptionsError: There is no such file, it is not YAML, has a Python tag or a key twice, or is not a mapping.
    """
    try:
        with open(path, encoding='utf-8') as file:
            value = yaml.load(file, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        raise OptionsError(f'{path}: the option file cannot be read: {reason}') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f' line {mark.line + 1}:' if mark else ''
        raise OptionsError(f'{path}:{line} {getattr(error, "problem", None) or error}') from None
    if not isinstance(value, dict):
        raise OptionsError(f'{path}: an option file is a mapping of keys, as in options/; this one is not')
    return value


def override(options: dict[str, Any], entries: Iterable[str]) -> None:
    """Sets single keys, as `--force_yml train:ema_decay=0.999` asks; values are YAML.

    Raises:
        OptionsError: An entry is not KEY:KEY=VALUE, its value is not YAML, or a key on its way is not a section.
    """
    for entry in entries:
        keys, equals, text = entry.partition('=')
        *sections, last = keys.strip().split(':')
        if not equals or not all(sections) or not last:
            raise OptionsError(f'--force_yml {entry}: write SECTION:KEY=VALUE, such as train:ema_decay=0.999')
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            raise OptionsError(f'--force_yml {entry}: {text!r} is not a YAML value') from None
        section: Any = options
        for key in sections:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise OptionsError(f'--force_yml {entry}: {key} is not a section')
        section[last] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that looks most like this one, else the list of those known."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, 1, cutoff=0.5)
    return f'; did you mean {close[0]!r}?' if close else f'; known: {", ".join(known)}'


def fault(path: str | os.PathLike, key: str, text: str) -> str:
    return f'{path}: {key}: {text}' if key else f'{path}: {text}'


def _describe(path: str | os.PathLike, error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        place = [str(part) for part in item['loc'] if part not in _TAGS and part != '[key]']
        if item['type'] == 'unknown_keys':
            for key in item['ctx']['unknown']:
                yield fault(path, '.'.join([*place, str(key)]), 'unknown key' + nearest(key, item['ctx']['known']))
        elif item['type'] == 'missing':
            yield fault(path, '.'.join(place), 'is required')
        else:
            yield fault(path, '.'.join(place), f'{item["msg"]}, not {item["input"]!r}')


def _cross_checks(options: dict[str, Any], is_train: bool) -> Iterator[tuple[str, str]]:
    """Faults between keys, as (key, what is wrong)."""
    scale = options['scale']
    network_scale = options['network_g'].get('scale', options['network_g'].get('upscale', scale))
    if network_scale != scale:
        yield 'network_g', f'is for x{network_scale}, but scale is {scale}'
    sections = options['datasets']
    for phase, dataset in sections.items():
        key = f'datasets.{phase}'
        if dataset['type'] == 'PairedPackDataset':
            unused = [name for name in ('io_backend', 'meta_info_file') if name in dataset]
            yield from ((f'{key}.{name}', 'a PairedPackDataset reads packs alone: leave it out') for name in unused)
        elif 'io_backend' not in dataset:
            yield f'{key}.io_backend', 'is required'
        roots = ['dataroot_lq'] if dataset['type'] == 'SingleImageDataset' else ['dataroot_gt', 'dataroot_lq']
        for root in roots:
            if not dataset.get(root):
                yield f'{key}.{root}', 'is required'
        if phase == 'train':
            if dataset['type'] == 'SingleImageDataset':
                yield f'{key}.type', 'training needs ground truth: use PairedImageDataset'
            for name in ('gt_size', 'use_hflip', 'use_rot', 'num_worker_per_gpu', 'batch_size_per_gpu'):
                if name not in dataset:
                    yield f'{key}.{name}', 'is required for training'
            if dataset.get('gt_size', 0) % scale:
                yield f'{key}.gt_size', f'{dataset["gt_size"]} is not a multiple of the scale {scale}'
            if dataset.get('prefetch_mode') == 'cuda' and dataset.get('pin_memory') is False:
                yield f'{key}.prefetch_mode', 'cuda needs pin_memory: true'
    if is_train:
        if 'train' not in sections:
            yield 'datasets.train', 'is required for training'
        if any(phase.startswith('test') for phase in sections):
            yield 'datasets', 'a training file has train and val sets; name the test sets val, val_1, ...'
        for name in ('train', 'logger'):
            if name not in options:
                yield name, 'is required for training'
        if 'train' in options:
            yield from _schedule_checks(options['train'])
            yield from _accumulation_checks(options['train'], sections.get('train', {}))
        if 'val' in options and 'val_freq' not in options['val']:
            yield 'val.val_freq', 'is required for training'
    elif 'train' in sections:
        yield 'datasets.train', 'this is a training file: `vapsr test` takes one whose sets are named test, test_1, ...'


def _accumulation_checks(train: dict[str, Any], dataset: dict[str, Any]) -> Iterator[tuple[str, str]]:
    parts = train.get('accumulate', 1)
    if dataset.get('batch_size_per_gpu', 0) % parts:
        yield 'train.accumulate', f'{parts} does not divide batch_size_per_gpu {dataset["batch_size_per_gpu"]}'
    if parts > 1 and train.get('pixel_opt', {}).get('reduction', 'mean') != 'mean':
        yield 'train.accumulate', 'needs a loss that is a mean: set pixel_opt.reduction: mean'


def _schedule_checks(train: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if 'pixel_opt' not in train and 'perceptual_opt' not in train:
        yield 'train', 'pixel_opt or perceptual_opt is required'
    scheduler = train['scheduler']
    if 'periods' in scheduler and sum(scheduler['periods']) < train['total_iter']:
        yield 'train.scheduler.periods', f'sum to {sum(scheduler["periods"])}, less than total_iter {train["total_iter"]}'
    restarts = scheduler.get('periods', scheduler.get('restarts', [0]))
    if len(scheduler.get('restart_weights', [1])) != len(restarts):
        yield 'train.scheduler.restart_weights', f'one weight for each of the {len(restarts)} restarts is needed'
    if not math.isfinite(train['optim_g']['lr']):
        yield 'train.optim_g.lr', 'must be finite'


def _without_none(section: dict[str, Any]) -> dict[str, Any]:
    """A key left empty (`~`) means the same as a key left out; not so among the arguments of a `Typed` callable."""
    typed = ('network_g', 'pixel_opt', 'perceptual_opt', 'metrics')
    return {key: _without_none(value) if isinstance(value, dict) and key not in typed else value
            for key, value in section.items() if value is not None}


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
    try:
        options = _without_none(Options.model_validate(raw).model_dump(exclude_unset=True))
    except ValidationError as error:
        raise OptionsError('\n'.join(_describe(path, error))) from None
    faults = [fault(path, key, text) for key, text in _cross_checks(options, is_train)]
    if faults:
        raise OptionsError('\n'.join(faults))
    _fill(options, is_train)
    return options
