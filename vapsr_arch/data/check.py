"""Checks pairs of images before training: every one opened, all faults found at once."""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np

from vapsr_arch.data.alike import difference
from vapsr_arch.data.batch import run_batch
from vapsr_arch.data.folders import split_images
from vapsr_arch.data.images import decode, read_bytes
from vapsr_arch.data.lmdb_store import open_lmdb
from vapsr_arch.data.matlab_resize import mod_crop
from vapsr_arch.data.overlap import PartIndex, chosen_windows
from vapsr_arch.data.pack import Pack
from vapsr_arch.data.pairs import lq_name, read_lmdb_headers, read_meta_info
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.roots import change_roots, expanded, paths_of
from vapsr_arch.options.yaml_files import read_yaml

_CUT = 12  # the least common multiple of x2, x3 and x4, which HR images may have been cut to


class PairedSet(NamedTuple):
    """HR and LR images to check: folders, LMDBs or packs.

    A `gt_size` asks for HR images as training needs them: multiples of the scale that hold a crop of so many pixels. A
    `meta_info_file` lists the images to take from the folders. Without an `lq` root the HR images are only opened; each of
    several has an LR image of every HR image.
    """

    name: str
    gt: str
    lq: tuple[str, ...]
    scale: int
    is_train: bool = True
    gt_size: int | None = None
    filename_tmpl: str = '{}'
    meta_info_file: str | None = None


class _Image(NamedTuple):
    root: str
    key: str  # path, LMDB key or position in a pack

    def __str__(self) -> str:
        return self.key if Path(self.root).is_dir() and not self.root.endswith('.lmdb') else f'{self.key} of {self.root}'


class _Facts(NamedTuple):
    height: int
    width: int
    content: str


@functools.lru_cache(maxsize=8)
def _opened(root: str) -> lmdb.Environment | Pack:
    return open_lmdb(root) if root.endswith('.lmdb') else Pack(root)


def _pixels(image: _Image) -> np.ndarray:
    if Path(image.root).is_file():
        pack = _opened(image.root)
        return pack[pack.find(image.key)]
    if not image.root.endswith('.lmdb'):
        return decode(read_bytes(image.key), image)
    try:
        with _opened(image.root).begin() as transaction:
            return decode(transaction.get(image.key.encode()), image)
    except lmdb.Error as error:
        raise VapsrError(f'{image.root} is damaged: {error}') from None


def _inspect(image: _Image, is_test: bool) -> tuple[_Facts, np.ndarray]:
    """Opens an image: its size and content, and windows of it to index if it is a test image, else to look up.

    The content is that of its upper left part, so that an image and its cut are the same.
    """
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    cut = mod_crop(pixels, _CUT) if min(height, width) >= _CUT else pixels
    content = hashlib.sha1(str(cut.shape).encode() + cut.tobytes()).hexdigest()
    return _Facts(height, width, content), chosen_windows(pixels, every_row=is_test)


class _Fitting(NamedTuple):
    """An HR and an LR image whose sizes fit."""

    gt: _Image
    lq: _Image
    scale: int

    def __str__(self) -> str:
        return str(self.lq)


def _compare(pair: _Fitting) -> str | None:
    return difference(_pixels(pair.gt), _pixels(pair.lq), pair.scale)


def _content_faults(pairs: list[_Fitting], workers: int | None) -> Iterator[str]:
    """LR images that do not show what their HR images do."""
    for pair, found in run_batch(_compare, pairs, 'pairs', workers) if pairs else ():
        if isinstance(found, VapsrError):
            yield str(found)
        elif found:
            yield f'{pair.lq} is not the LR image of {pair.gt}: it {found}; make it again'


def _images_of(root: str, faults: list[str]) -> dict[str, _Image]:
    """A root's images by name without suffix."""
    images: dict[str, _Image] = {}
    if Path(root).is_file() or root.endswith('.pack'):
        return {name: _Image(root, name) for name in Pack(root).names()}
    if root.endswith('.lmdb'):
        headers = read_lmdb_headers(root)
        _opened(root)  # a damaged one is refused once, not for each image
        return {key: _Image(root, key) for key in headers}
    for path in split_images(root)[0]:
        if path.stem in images:
            faults.append(f'{path} and {images[path.stem]} differ only in their suffix: keep one of them')
        images[path.stem] = _Image(root, str(path))
    return images


def _size_faults(gt: _Image, lqs: list[_Image], facts: dict[_Image, _Facts], images: PairedSet) -> Iterator[str]:
    if gt not in facts:
        return
    height, width, _ = facts[gt]
    scale = images.scale
    if images.gt_size and (height % scale or width % scale):
        yield (f'{gt} is {height}x{width} (height x width), not a multiple of the scale {scale}: cut it with '
               f'`vapsr data lr --cut-hr`')
    if images.gt_size and min(height, width) < images.gt_size:
        yield f'{gt} is {height}x{width}, smaller than gt_size {images.gt_size}'
    for lq in lqs:
        if lq in facts and facts[lq][:2] != (height // scale, width // scale):
            yield (f'{lq} is {facts[lq].height}x{facts[lq].width}, but {gt} is {height}x{width}: for x{scale} the LR image '
                   f'must be {height // scale}x{width // scale}')


def _listed_pairs(images: PairedSet) -> list[tuple[_Image, list[_Image]]]:
    """The pairs that a meta info file lists, whether their files are there or not."""
    paths = [Path(name) for name in read_meta_info(images.meta_info_file)]
    partners = [lq_name(images.filename_tmpl, path.stem) + path.suffix for path in paths]
    return [(_Image(images.gt, str(Path(images.gt, path))),
             [_Image(root, str(Path(root, partner))) for root in images.lq])
            for path, partner in zip(paths, partners)]


def _pairs(images: PairedSet, faults: list[str]) -> tuple[list[tuple[_Image, list[_Image]]], list[_Image]]:
    """The HR images of a set with their LR images, and LR images without an HR image."""
    if images.meta_info_file:
        return _listed_pairs(images), []
    gt = _images_of(images.gt, faults)
    lqs = {root: _images_of(root, faults) for root in images.lq}
    names = {name: lq_name(images.filename_tmpl, name) for name in gt}
    faults += [f'{gt[name]} has no partner: no image named {other} in {root}'
               for root, lq in lqs.items() for name, other in names.items() if other not in lq]
    alone = [lq[name] for lq in lqs.values() for name in sorted(set(lq) - set(names.values()))]
    faults += [f'{image} has no partner: no HR image of its name in {images.gt}' for image in alone]
    return [(image, [lq[names[name]] for lq in lqs.values() if names[name] in lq]) for name, image in gt.items()], alone


def _inspected(images: list[_Image], is_test: bool, workers: int | None,
               faults: list[str]) -> Iterator[tuple[_Image, _Facts, np.ndarray]]:
    """Inspects images; the faults of those that cannot be opened are added."""
    title = 'test images' if is_test else 'images'
    for image, result in run_batch(functools.partial(_inspect, is_test=is_test), images, title, workers) if images else ():
        if isinstance(result, VapsrError):
            faults.append(str(result))
        else:
            yield image, *result


def find_faults(sets: Sequence[PairedSet], workers: int | None = None) -> tuple[int, list[str]]:
    """Opens every image of some sets.

    Args:
        sets: For training and for testing; a train image that is also in a test set is a fault.
        workers: Processes; None for one a core.

    Returns:
        How many HR images there are, and a sentence for every fault: a missing folder, partner or image, one that cannot
        be read, a size that does not fit, an LR image that shows something else than its HR image, a name given twice, a
        train image that has the pixels of a test image (either
        may have been cut by less than 12 rows or columns) or of any part of one.
    """
    faults: list[str] = []
    pairs: list[tuple[PairedSet, _Image, list[_Image]]] = []
    jobs: dict[_Image, None] = {}
    for images in sets:
        try:
            found, alone = _pairs(images, faults)
        except VapsrError as error:
            faults.append(f'{images.name}: {error}')
            continue
        pairs += [(images, *pair) for pair in found]
        jobs.update(dict.fromkeys([*(image for gt, lqs in found for image in (gt, *lqs)), *alone]))
    tests = dict.fromkeys(gt for images, gt, _ in pairs if not images.is_train)
    others = [image for image in jobs if image not in tests]
    facts: dict[_Image, _Facts] = {}
    windows: dict[_Image, np.ndarray] = {}
    copies: dict[str, list[_Image]] = defaultdict(list)
    for image, found_facts, found_windows in _inspected(list(tests), True, workers, faults):
        facts[image], windows[image] = found_facts, found_windows
        copies[found_facts.content].append(image)
    index, indexed = PartIndex(list(windows.values())), list(windows)
    wholes: dict[_Image, list[_Image]] = {}  # the test images that an image is a part of
    for image, found_facts, found_windows in _inspected(others, False, workers, faults):
        facts[image] = found_facts
        wholes[image] = [indexed[position] for position in sorted(index.containing(found_windows))]
    fitting = []
    for images, gt, lqs in pairs:
        faults += _size_faults(gt, lqs, facts, images)
        if gt in facts:
            size = facts[gt].height // images.scale, facts[gt].width // images.scale
            fitting += [_Fitting(gt, lq, images.scale) for lq in lqs if lq in facts and facts[lq][:2] == size]
        if images.is_train and gt in facts:
            same = copies[facts[gt].content]
            faults += [f'{gt} is the test image {other} too: leave it out of training' for other in same]
            faults += [f'{gt} is a part of the test image {other}: leave it out of training'
                       for other in wholes.get(gt, []) if other not in same]
    return len(pairs), [*faults, *_content_faults(fitting, workers)]


def sets_of_options(path: Path) -> list[PairedSet]:
    """The sets of an option file.

    Raises:
        OptionsError: The file has faults, or a data set whose images lie elsewhere than under `dataroot_gt` and `dataroot_lq`.
    """
    is_train = 'train' in (read_yaml(path).get('datasets') or {})
    options = load_options(path, is_train)
    sets = []
    for phase, dataset in options['datasets'].items():
        change_roots(dataset, expanded)
        single = dataset['type'].endswith('SingleImageDataset')  # LR alone: opened as they are
        for key in ('dataroot_lq',) if single else ('dataroot_gt', 'dataroot_lq'):
            if key not in dataset:
                raise OptionsError(f'{path}: datasets.{phase}, {dataset["type"]}, has no {key}: there are no pairs to check')
        sets.append(PairedSet(dataset['name'], dataset['dataroot_lq' if single else 'dataroot_gt'],
                              () if single else tuple(paths_of(dataset['dataroot_lq'])), options['scale'], phase == 'train',
                              dataset.get('gt_size'), dataset.get('filename_tmpl', '{}'), dataset.get('meta_info_file')))
    return sets
