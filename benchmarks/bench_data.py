"""What the data tools cost, as ratios taken in one run: `OMP_NUM_THREADS=1 python benchmarks/bench_data.py`.

Images are made here: smooth noise at several scales with fine noise on top, which PNG compresses about as it does
photographs. One thread and one process, but for the pack from PNGs, which is made on all cores as `vapsr data pack` makes
it, and is compared with decoding the same PNGs on as many threads and with nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vapsr_arch.data.lmdb_store import make_lmdb
from vapsr_arch.data.lr import make_lr
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.data.pack import PackWriter
from vapsr_arch.data.packing import make_pack
from vapsr_arch.pipeline.registration import register

Row = tuple[str, str, str, str]

# Not ru_maxrss, which begins with the memory of the process that forks.
PEAK = 'print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))'
OPEN = 'import sys\nfrom vapsr_arch.data.pack import Pack\npack = Pack(sys.argv[1])\npack[0].sum()'


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = random.normal(0, 2, (height, width, 3)) + 128
    for scale, contrast in ((64, 50), (16, 25), (4, 12)):
        coarse = random.normal(0, contrast, (height // scale + 2, width // scale + 2, 3))
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def seconds(*functions: Callable[[], Any], times: int, before: Callable[[], Any] = lambda: None) -> list[float]:
    """The shortest time of each function; they take turns, so that other work on the machine meets them alike.

    What is to be done `before` each is not timed.
    """
    best = [float('inf')] * len(functions)
    for _ in range(times):
        for number, function in enumerate(functions):
            before()
            start = time.perf_counter()
            function()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def peak_memory(script: str, *arguments: object) -> float:
    """MiB of a fresh process at its largest."""
    process = subprocess.run([sys.executable, '-c', f'{script}\n{PEAK}', *map(str, arguments)], check=True, text=True,
                             stdout=subprocess.PIPE)
    return int(process.stdout.split()[-1]) / 1024


def lr_rows(folder: Path) -> Iterator[Row]:
    from basicsr.utils.matlab_functions import imresize as basicsr_imresize
    image = photograph(1356, 2040, 0)
    as_float = (image / 255).astype(np.float32)
    for scale in (2, 3, 4):
        ours, theirs = seconds(lambda: imresize(image, 1 / scale), lambda: basicsr_imresize(as_float, 1 / scale),  # noqa: B023
                               times=8)
        yield (f'imresize 2040x1356, x{scale}', f'{theirs * 1e3:.0f} ms basicsr', f'{ours * 1e3:.0f} ms',
               f'{theirs / ours:.1f}x')
    cv2.imwrite(str(folder / 'image.png'), image)
    peak = peak_memory('import sys\nfrom pathlib import Path\nfrom vapsr_arch.data.lr import _make\n'
                       '_make(Path(sys.argv[1]), {f"X{s}": sys.argv[2] for s in (2, 3, 4)}, 0, "symmetric", None)',
                       folder / 'image.png', folder / 'one')
    yield 'memory of a worker, x2 x3 x4', '', f'{peak:.0f} MiB', ''


def make_sub_images(folder: Path, count: int) -> None:
    """480x480 sub-images and their LR images of x4, as PNG files, LMDBs and packs: gt and lq."""
    (folder / 'HR').mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / 'HR' / f'{number:03d}.png'), photograph(480, 480, number))
    make_lr([folder / 'HR'], folder / 'LR', [4])
    for name, source in (('gt', folder / 'HR'), ('lq', folder / 'LR/X4')):
        make_lmdb([source], folder / f'{name}.lmdb')
        make_pack([source], folder / f'{name}.pack')


def sample_rows(folder: Path) -> Iterator[Row]:
    from vapsr_arch.data.image_datasets import CheckedPairedImageDataset
    from vapsr_arch.data.paired_pack_dataset import PairedPackDataset
    make_sub_images(folder, 100)
    common = {'name': 'bench', 'phase': 'train', 'scale': 4, 'gt_size': 192, 'use_hflip': True, 'use_rot': True}
    sets = [kind(common | {'dataroot_gt': f'{folder}/gt.{suffix}', 'dataroot_lq': f'{folder}/lq.{suffix}',
                           'io_backend': {'type': 'lmdb'}})
            for kind, suffix in ((CheckedPairedImageDataset, 'lmdb'), (PairedPackDataset, 'pack'))]
    lmdb, pack = (time_each / 100 for time_each in seconds(
        *(lambda dataset=dataset: [dataset[index] for index in range(100)] for dataset in sets), times=8))
    yield ('sample, gt 192, augmented, to tensor', f'{lmdb * 1e3:.2f} ms PNG in LMDB', f'{pack * 1e3:.3f} ms',
           f'{lmdb / pack:.0f}x')


def pack_rows(folder: Path, count: int) -> Iterator[Row]:
    (folder / 'many').mkdir()
    for number in range(count):  # links: the disk has to hold the pack, not as many PNGs
        os.link(folder / 'HR' / f'{number % 100:03d}.png', folder / 'many' / f'{number:06d}.png')
    paths = sorted((folder / 'many').iterdir())
    out, size = folder / 'many.pack', count * 480 * 480 * 3
    block = photograph(480, 480, 0)

    def write() -> None:
        with out.open('wb') as file:
            for _ in range(count):
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())

    def write_pack() -> None:
        with out.open('wb') as file:
            writer = PackWriter(file, {})
            for number in range(count):
                writer.add(f'{number:06d}', block)
            writer.close()

    def decode() -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(lambda path: cv2.imread(str(path)) is None, paths):
                pass

    def remove() -> None:
        out.unlink(missing_ok=True)  # to cut a file of gigabytes to nothing takes a while
        os.sync()

    for title, plain_title, plain, ours in (
            (f'{count} decoded 480x480 into a pack', 'plain writing', write, write_pack),
            ('the same from PNGs, the command', 'decoding alone', decode, lambda: make_pack([folder / 'many'], out))):
        limit, taken = seconds(plain, ours, times=2, before=remove)
        yield (title, f'{size / limit / 2**20:.0f} MiB/s {plain_title}', f'{size / taken / 2**20:.0f} MiB/s',
               f'{limit / taken:.2f}x')


def open_rows(folder: Path) -> Iterator[Row]:
    peaks = []
    for size in (20 * 2**20, 20 * 2**30):
        path = folder / f'{size}.pack'
        with path.open('wb') as file:
            writer = PackWriter(file, {})
            for number in range(size // (480 * 480 * 3)):
                writer.reserve(f'{number:06d}', 480, 480)
            writer.close()
        peaks.append(peak_memory(OPEN, path))
    yield ('opening a pack of 20 GiB (sparse)', f'{peaks[0]:.1f} MiB for 20 MiB', f'{peaks[1]:.1f} MiB',
           f'{peaks[1] - peaks[0]:+.1f} MiB')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--images', type=int, default=10000, help='sub-images of the pack that is timed; 0.7 MB each')
    parser.add_argument('--folder', help='where to put some 8 GB for a while; the temporary folder by default')
    arguments = parser.parse_args()
    register()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f'{"":<40}{"compared with":>28}{"here":>14}{"ratio":>10}')
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for rows in (lr_rows(folder), sample_rows(folder), open_rows(folder), pack_rows(folder, arguments.images)):
            for title, compared, here, ratio in rows:
                print(f'{title:<40}{compared:>28}{here:>14}{ratio:>10}', flush=True)


if __name__ == '__main__':
    main()
