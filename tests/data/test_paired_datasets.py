"""Samples of the paired data sets: the same from folders, LMDBs and packs, and with any number of workers."""

import itertools
import pickle
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.data.data_helpers import in_subprocess
from tests.forked import run_forked
from vapsr_arch.data.lmdb_store import make_lmdb
from vapsr_arch.data.lr import make_lr
from vapsr_arch.data.pack import Pack, PackWriter
from vapsr_arch.data.packing import make_pack
from vapsr_arch.errors import VapsrError
from vapsr_arch.pipeline.registration import register

register()

from vapsr_arch.data.image_datasets import CheckedPairedImageDataset  # noqa: E402
from vapsr_arch.data.paired_pack_dataset import PairedPackDataset  # noqa: E402
from vapsr_arch.data.sampler import SeededIndex, SeededSampler  # noqa: E402

Samples = list[tuple[str, bytes, bytes]]


@pytest.fixture
def options(photographs: Path, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The same images in folders, LMDBs and packs."""
    make_lr([photographs], tmp_path / 'out', [4], cut_hr=True, workers=1)
    for kind, folder in (('gt', 'HR'), ('lq', 'X4')):
        make_lmdb([tmp_path / 'out' / folder], tmp_path / f'{kind}.lmdb', workers=1)
        make_pack([tmp_path / 'out' / folder], tmp_path / f'{kind}.pack', workers=1)
    common = {'name': 'set', 'scale': 4, 'phase': 'train', 'gt_size': 32, 'use_hflip': True, 'use_rot': True}

    def of(gt: str, lq: str, **extra: Any) -> dict[str, Any]:
        return common | {'dataroot_gt': str(tmp_path / gt), 'dataroot_lq': str(tmp_path / lq)} | extra
    return {'disk': of('out/HR', 'out/X4', io_backend={'type': 'disk'}),
            'lmdb': of('gt.lmdb', 'lq.lmdb', io_backend={'type': 'lmdb'}), 'pack': of('gt.pack', 'lq.pack')}


def dataset_of(opt: dict[str, Any]) -> Dataset:
    return (CheckedPairedImageDataset if 'io_backend' in opt else PairedPackDataset)(dict(opt))


def epochs(dataset: Dataset, workers: int, seed: int = 1, rank: int = 0, persistent: bool = False,
           first: int = 0, start: str = 'fork') -> Samples:
    """The samples of two epochs of one of two processes."""
    sampler = SeededSampler(dataset, 2, rank, 5, seed)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, persistent_workers=persistent,
                        multiprocessing_context=start if workers else None)
    samples = []
    for epoch in (first, first + 1):
        sampler.set_epoch(epoch)
        for batch in loader:
            samples += [(Path(path).stem, gt.numpy().tobytes(), lq.numpy().tobytes())
                        for path, gt, lq in zip(batch['gt_path'], batch['gt'], batch['lq'])]
    return samples


def test_samples_are_basicsrs(options: dict) -> None:
    from basicsr.data.paired_image_dataset import PairedImageDataset
    ours, packed = dataset_of(options['disk']), dataset_of(options['pack'])
    theirs = PairedImageDataset(options['disk'] | {'io_backend': {'type': 'disk'}})
    order = [theirs.paths[index]['gt_path'] for index in range(len(theirs))]
    for index, pair in enumerate(ours.pairs):
        for seed in range(8):
            random.seed(seed)
            want = theirs[order.index(pair.gt)]
            for dataset in (ours, packed):
                random.seed(seed)
                sample = dataset[index]
                assert torch.equal(sample['gt'], want['gt']) and torch.equal(sample['lq'], want['lq'])


@pytest.mark.parametrize('extra', [{'phase': 'val'}, {'color': 'y'}, {'mean': [0.5] * 3, 'std': [0.5] * 3}])
def test_folders_lmdbs_and_packs_give_the_same(options: dict, extra: dict) -> None:
    index = SeededIndex(2, 7)
    disk, lmdb, pack = (dataset_of(opt | extra)[index] for opt in options.values())
    for other in (lmdb, pack):
        assert torch.equal(disk['gt'], other['gt']) and torch.equal(disk['lq'], other['lq'])
    assert disk['gt'].shape[0] == (1 if 'color' in extra else 3) and disk['gt'].dtype == torch.float32


@pytest.mark.parametrize('kind', ['disk', 'pack'])
def test_samples_do_not_depend_on_the_workers(options: dict, kind: str) -> None:
    alone = epochs(dataset_of(options[kind]), 0)
    assert epochs(dataset_of(options[kind]), 2) == alone
    assert epochs(dataset_of(options[kind]), 4) == alone
    assert epochs(dataset_of(options[kind]), 2, persistent=True) == alone


def test_workers_may_be_processes_of_their_own(options: dict) -> None:
    dataset = dataset_of(options['pack'])
    assert epochs(dataset, 1, persistent=True, start='spawn') == epochs(dataset, 0)


def test_samples_depend_on_seed_rank_and_epoch(options: dict) -> None:
    dataset = dataset_of(options['pack'])
    samples = epochs(dataset, 0)
    other = {name: epochs(dataset, 0, **arguments) for name, arguments in {
        'seed': {'seed': 2}, 'rank': {'rank': 1}, 'epoch': {'first': 2}}.items()}
    for changed in other.values():
        assert [name for name, _, _ in changed] != [name for name, _, _ in samples]
        assert len({gt for _, gt, _ in changed} & {gt for _, gt, _ in samples}) <= 1  # of 20; one may be so by chance
    assert epochs(dataset, 0, first=1)[:10] == samples[10:]  # as after resuming
    assert len({gt for _, gt, _ in samples}) == len(samples)  # an image that comes again is cropped elsewhere
    both = samples[:10] + other['rank'][:10]
    assert sorted(name for name, _, _ in both) == sorted('abcd' * 5)  # two processes share an epoch


@pytest.mark.parametrize('processes', [2, 3])
def test_processes_draw_together_what_one_draws(options: dict, processes: int) -> None:
    dataset = dataset_of(options['pack'])

    def batches(replicas: int, rank: int) -> list[list[tuple[int, int]]]:
        order = [(int(index), index.seed) for index in SeededSampler(dataset, replicas, rank, 7, seed=1)]
        size = 6 // replicas
        return [order[start:start + size] for start in range(0, len(order) - size + 1, size)]

    together = zip(*(batches(processes, rank) for rank in range(processes)))
    assert [sorted(itertools.chain(*step)) for step in together] == [sorted(step) for step in batches(1, 0)]


@pytest.fixture
def variants(options: dict, tmp_path: Path) -> dict[str, Any]:
    """The pack's options with two more LR packs: all 0 and all 255, where the images' noise is neither."""
    given = Pack(options['pack']['dataroot_lq'])
    for name, level in (('dark', 0), ('light', 255)):
        write_pack(tmp_path / f'{name}.pack', {name: np.full_like(given[given.find(name)], level) for name in given.names()})
    return options['pack'] | {'dataroot_lq': [str(tmp_path / f'{name}.pack') for name in ('lq', 'dark', 'light')]}


def test_samples_come_from_all_packs_of_a_list(options: dict, variants: dict) -> None:
    one, several = epochs(dataset_of(options['pack']), 0), epochs(dataset_of(variants), 0)
    assert [(name, gt) for name, gt, _ in several] == [(name, gt) for name, gt, _ in one]  # cropped as with one pack
    kinds = {np.zeros(192, np.float32).tobytes(): 'dark', np.ones(192, np.float32).tobytes(): 'light'}
    taken = [kinds.get(lq, 'lq') for _, _, lq in several]
    assert all(lq == mine for (_, _, lq), (_, _, mine), kind in zip(one, several, taken) if kind == 'lq')
    assert set(taken[:10]) == set(taken[10:]) == {'lq', 'dark', 'light'} and taken[:10] != taken[10:]
    assert epochs(dataset_of(variants), 2) == epochs(dataset_of(variants), 0) == several
    assert epochs(dataset_of(variants), 0, first=1)[:10] == several[10:]  # as after resuming
    assert [kinds.get(lq, 'lq') for _, _, lq in epochs(dataset_of(variants), 0, seed=2)] != taken


def test_packs_of_a_list_are_taken_equally_often(variants: dict) -> None:
    dataset = dataset_of(variants)
    for indices in ((SeededIndex(1, seed) for seed in range(900)), itertools.repeat(1, 900)):  # by seeds, and without one
        random.seed(0)
        counts = Counter(float(level) if level in (0, 1) else 0.5 for level in (dataset[index]['lq'].mean() for index in indices))
        assert set(counts) == {0, 0.5, 1} and all(abs(count - 300) < 60 for count in counts.values())


def test_a_list_of_one_pack_is_that_pack(options: dict) -> None:
    several = options['pack'] | {'dataroot_lq': [options['pack']['dataroot_lq']]}
    assert epochs(dataset_of(several), 0) == epochs(dataset_of(options['pack']), 0)


def test_packs_of_a_list_that_do_not_fit(variants: dict, tmp_path: Path) -> None:
    images = {name: pack[pack.find(name)] for pack in [Pack(tmp_path / 'dark.pack')] for name in pack.names()}
    for changed, text in (({}, 'the pack cannot be read: No such file'),
                          ({'b': None}, f'b of {tmp_path}/gt.pack has no partner: no image named b in {tmp_path}/light.pack'),
                          ({'e': images['a']}, f'e of {tmp_path}/light.pack has no partner: no HR image of its name in '),
                          ({'b': images['b'][1:]}, f'b of .*, is not the size of its LR image in {tmp_path}/light.pack times 4')):
        (tmp_path / 'light.pack').unlink(missing_ok=True)
        if changed:
            present = {name: image for name, image in (images | changed).items() if image is not None}
            write_pack(tmp_path / 'light.pack', present)
        with pytest.raises(VapsrError, match=text):
            dataset_of(variants)


def test_a_list_is_for_training(variants: dict) -> None:
    with pytest.raises(VapsrError, match=r'^set: dataroot_lq: a list of packs is for training: name one pack$'):
        dataset_of(variants | {'phase': 'val'})


def test_a_seeded_index_is_an_int_and_keeps_its_seed() -> None:
    index = pickle.loads(pickle.dumps(SeededIndex(3, 2**62)))
    assert index == 3 and index.seed == 2**62 and [0, 1, 2, 'three'][index] == 'three'


def test_training_builds_on_the_seeded_sampler(options: dict) -> None:
    import logging

    from vapsr_arch.pipeline.loaders import create_train_val_dataloader
    train = options['pack'] | {'type': 'PairedPackDataset', 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2,
                               'dataset_enlarge_ratio': 5}
    opt = {'num_gpu': 0, 'dist': False, 'manual_seed': 3, 'world_size': 1, 'rank': 0, 'datasets': {'train': train},
           'train': {'total_iter': 20}, 'run': SimpleNamespace(resumed={})}
    loader, sampler, *_ = create_train_val_dataloader(opt, logging.getLogger('test'))
    assert isinstance(sampler, SeededSampler) and sampler.seed == 3 and len(loader) == 10


def test_processes_share_an_epoch_without_a_seed_in_the_options(tmp_path: Path) -> None:
    write_pack(tmp_path / 'x.pack', {name: np.zeros((8, 8, 3), np.uint8) for name in 'abcd'})
    script = f"""
import logging, sys, torch
from types import SimpleNamespace
from vapsr_arch.pipeline.loaders import create_train_val_dataloader
rank = int(sys.argv[1])
torch.distributed.init_process_group('gloo', init_method='file://{tmp_path}/meet', rank=rank, world_size=2)
train = dict(name='x', type='PairedPackDataset', phase='train', scale=1, gt_size=8, use_hflip=True, use_rot=True,
             dataroot_gt='{tmp_path}/x.pack', dataroot_lq='{tmp_path}/x.pack', num_worker_per_gpu=0, batch_size_per_gpu=2)
opt = dict(num_gpu=0, dist=True, manual_seed=rank, world_size=2, rank=rank, datasets=dict(train=train),
           train=dict(total_iter=1), run=SimpleNamespace(resumed={{}}))
loader = create_train_val_dataloader(opt, logging.getLogger('x'))[0]
print(''.join(next(iter(loader))['gt_path']))
"""
    with ThreadPoolExecutor(2) as pool:
        processes = list(pool.map(lambda rank: run_forked(script, str(rank)), range(2)))
    assert sorted(''.join(process.stdout.decode().splitlines()[-1] for process in processes)) == list('abcd'), processes


def test_pairing_by_name_and_template(options: dict, tmp_path: Path) -> None:
    random_numbers = np.random.default_rng(0)
    images = {name: random_numbers.integers(0, 256, (32, 32, 3), np.uint8) for name in ('a', 'a-b', 'b')}
    write_pack(tmp_path / 'gt.pack', images)
    write_pack(tmp_path / 'lq.pack', {f'{name}x4': image[:8, :8] for name, image in images.items()})  # another order
    dataset = dataset_of(options['pack'] | {'filename_tmpl': '{}x4'})
    assert [dataset[index]['lq_path'] for index in range(3)] == ['ax4', 'a-bx4', 'bx4']


def write_pack(path: Path, images: dict[str, np.ndarray]) -> None:
    with path.open('wb') as file:
        writer = PackWriter(file, {})
        for name in sorted(images):
            writer.add(name, images[name])
        writer.close()


@pytest.mark.parametrize(('gt', 'lq', 'text'), [
    ({'a': 32, 'b': 32}, {'a': 8}, 'b of .* has no partner: no image named b in'),
    ({'a': 32}, {'a': 8, 'b': 8}, 'b of .* has no partner: no HR image of its name in'),
    ({'a': 32}, {'a': 9}, 'a of .*, 32x32 .*, is not the size of its LR image in .* times 4'),
    ({'a': 34}, {'a': 8}, 'a of .*, 34x34 .*, is not a multiple of the scale 4'),
    ({'a': 28}, {'a': 7}, 'a of .*, 28x28 .*, is smaller than gt_size 32: lower gt_size or leave the image out'),
    ({}, {}, 'the pack has no image'),
])
def test_packs_that_do_not_fit(gt: dict, lq: dict, text: str, tmp_path: Path) -> None:
    for name, sizes in (('gt', gt), ('lq', lq)):
        write_pack(tmp_path / f'{name}.pack', {key: np.zeros((size, size, 3), np.uint8) for key, size in sizes.items()})
    with pytest.raises(VapsrError, match=text):
        PairedPackDataset({'name': 'set', 'scale': 4, 'phase': 'train', 'gt_size': 32, 'use_hflip': True, 'use_rot': True,
                           'dataroot_gt': str(tmp_path / 'gt.pack'), 'dataroot_lq': str(tmp_path / 'lq.pack')})


def test_files_that_are_no_packs(tmp_path: Path) -> None:
    path = tmp_path / 'x.pack'
    with pytest.raises(VapsrError, match='the pack cannot be read: No such file'):
        Pack(path)
    path.write_bytes(b'PNG')
    with pytest.raises(VapsrError, match='is not a pack: `vapsr data pack` makes one'):
        Pack(path)
    write_pack(path, {'a': np.zeros((32, 32, 3), np.uint8)})
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(VapsrError, match=f'has {len(content) - 1} bytes of {len(content)}: it is cut off'):
        Pack(path)
    path.write_bytes(content[:8] + b'\x63' + content[9:])
    with pytest.raises(VapsrError, match='is a pack of version 99, and this program reads version 1'):
        Pack(path)


@pytest.mark.skipif(not Path('/proc/self/status').is_file(), reason='peak memory is read from /proc')
def test_opening_a_pack_takes_its_index_alone(tmp_path: Path) -> None:
    script = ('import sys\nfrom vapsr_arch.data.pack import Pack\npack = Pack(sys.argv[1])\n'
              'assert pack[len(pack) - 1].shape == (480, 480, 3) and pack.find(pack.name(0)) == 0\n'
              'print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))')
    kib = []
    for size in (20 * 2**20, 20 * 2**30):
        path = tmp_path / f'{size}.pack'
        with path.open('wb') as file:
            writer = PackWriter(file, {})
            for number in range(size // (480 * 480 * 3)):
                writer.reserve(f'{number:06d}', 480, 480)
            writer.close()
        assert path.stat().st_size >= 0.9 * size and path.stat().st_blocks * 512 < 8 * 2**20
        kib.append(int(in_subprocess('-c', script, path).stdout))
    assert kib[1] - kib[0] < 4 * 1024  # 31,000 records of 32 bytes, and what is computed from them


def test_colours_change_alike_and_by_the_seed_alone(options: dict) -> None:
    plain = dataset_of(options['pack'])
    coloured = dataset_of(options['pack'] | {'channel_permutation': 0.6, 'negative': 0.4})
    changes = set()
    for seed in range(40):
        sample, other, again = plain[SeededIndex(0, seed)], coloured[SeededIndex(0, seed)], coloured[SeededIndex(0, seed)]
        assert torch.equal(other['gt'], again['gt']) and torch.equal(other['lq'], again['lq'])
        found = []
        for order, negative in itertools.product(itertools.permutations(range(3)), (False, True)):
            expected = [abs(int(negative) - sample[key][list(order)]) for key in ('lq', 'gt')]
            if all(map(lambda image, key: torch.allclose(image, other[key], atol=1e-6), expected, ('lq', 'gt'))):
                found.append((order, negative))
        assert len(found) == 1
        changes |= set(found)
    assert {negative for _, negative in changes} == {False, True} and len({order for order, _ in changes}) == 6


def test_colours_stay_without_the_keys(options: dict) -> None:
    """No random number more is drawn: a run of before draws the same samples."""
    same = dataset_of(options['pack'] | {'channel_permutation': 0, 'negative': 0})
    for seed in range(5):
        assert torch.equal(dataset_of(options['pack'])[SeededIndex(1, seed)]['gt'], same[SeededIndex(1, seed)]['gt'])
