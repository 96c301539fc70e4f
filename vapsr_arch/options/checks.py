"""What the keys of an option file must have to do with each other."""

from collections.abc import Iterator
from typing import Any

from vapsr_arch.options.faults import shown
from vapsr_arch.options.roots import NO_LIST_IN_TESTS
from vapsr_arch.options.schema import BASICSR_SCHEDULERS, OWN_DATASETS, losses_of


def cross_checks(options: dict[str, Any], is_train: bool) -> Iterator[tuple[str, str]]:
    """Faults between keys, as (key, what is wrong)."""
    untyped = list(_untyped(options))
    if untyped:
        yield from untyped
        return
    scale = options['scale']
    network_scale = options['network_g'].get('scale', options['network_g'].get('upscale', scale))
    if network_scale != scale:
        yield 'network_g', f'is for x{shown(network_scale, quoted=False)}, but scale is {scale}'
    sections = options['datasets']
    names = [dataset['name'] for phase, dataset in sections.items() if phase != 'train']
    for name in {name for name in names if names.count(name) > 1}:
        yield 'datasets', f'two sets have the name {shown(name)}, by which results are kept: give each its own'
    for phase, dataset in sections.items():
        key = f'datasets.{phase}'
        own = dataset['type'] in OWN_DATASETS
        if own:
            yield from _root_checks(key, dataset)
            yield from list_checks(phase, dataset, dataset['type'])
        if phase == 'train':
            if dataset['type'].endswith('SingleImageDataset'):
                yield f'{key}.type', 'training needs ground truth: use PairedImageDataset'
            needed = ('num_worker_per_gpu', 'batch_size_per_gpu')
            for name in ('gt_size', 'use_hflip', 'use_rot', *needed) if own else needed:
                if name not in dataset:
                    yield f'{key}.{name}', 'is required for training'
            if own and dataset.get('gt_size', 0) % scale:
                yield f'{key}.gt_size', f'{dataset["gt_size"]} is not a multiple of the scale {scale}'
            if dataset.get('prefetch_mode') == 'cuda' and dataset.get('pin_memory') is False:
                yield f'{key}.prefetch_mode', 'cuda needs pin_memory: true'
        if ('mean' in dataset) != ('std' in dataset) and own:
            yield key, 'mean and std go together: give both or neither'
    if is_train:
        if options['name'] == 'pretrained_models':
            yield 'name', 'experiments/pretrained_models is where weights lie: choose another name'
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


def _untyped(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Sections that must name something by `type`, and do not."""
    train = options.get('train', {})
    sections = {key: value for key, value in options.items() if key.startswith('network_')}
    sections |= {f'train.{key}': value for key, value in train.items() if key.endswith('_opt') or key.startswith('optim_')}
    for key, section in sections.items():
        if not isinstance(section, dict) or not isinstance(section.get('type'), str):
            yield key, f'must be a section with a type, not {shown(section)}'


def _root_checks(key: str, dataset: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if dataset['type'] == 'PairedPackDataset':
        unused = [name for name in ('io_backend', 'meta_info_file') if name in dataset]
        yield from ((f'{key}.{name}', 'a PairedPackDataset reads packs alone: leave it out') for name in unused)
    elif 'io_backend' not in dataset:
        yield f'{key}.io_backend', 'is required'
    roots = ['dataroot_lq'] if dataset['type'].endswith('SingleImageDataset') else ['dataroot_gt', 'dataroot_lq']
    for root in roots:
        if not dataset.get(root):
            yield f'{key}.{root}', 'is required'


def list_checks(phase: str, dataset: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a list of LR packs, as `cross_checks` says it; `kind` is the data set's type among this package's."""
    if isinstance(dataset.get('dataroot_lq'), list):
        key = f'datasets.{phase}.dataroot_lq'
        if kind != 'PairedPackDataset':
            yield key, 'a list is for PairedPackDataset, which takes packs: give one path'
        elif phase != 'train':
            yield key, NO_LIST_IN_TESTS


def _accumulation_checks(train: dict[str, Any], dataset: dict[str, Any]) -> Iterator[tuple[str, str]]:
    parts = train.get('accumulate', 1)
    if dataset.get('batch_size_per_gpu', 0) % parts:
        yield 'train.accumulate', f'{parts} does not divide batch_size_per_gpu {dataset["batch_size_per_gpu"]}'
    for name, loss in losses_of(train).items():
        if parts > 1 and loss.get('reduction', 'mean') != 'mean':
            yield 'train.accumulate', f'needs a loss that is a mean: set {name}.reduction: mean'
        elif loss.get('reduction') == 'none':
            yield f'train.{name}.reduction', 'none gives no single number: set mean or sum'


def _schedule_checks(train: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not losses_of(train):
        yield 'train', 'a loss is required, such as pixel_opt'
    scheduler = train['scheduler']
    if scheduler['type'] not in BASICSR_SCHEDULERS:
        return
    if 'periods' in scheduler and sum(scheduler['periods']) < train['total_iter']:
        yield 'train.scheduler.periods', f'sum to {sum(scheduler["periods"])}, less than total_iter {train["total_iter"]}'
    restarts = scheduler.get('periods', scheduler.get('restarts', [0]))
    if len(scheduler.get('restart_weights', [1])) != len(restarts):
        yield 'train.scheduler.restart_weights', f'one weight for each of the {len(restarts)} restarts is needed'
