"""Data sets of image files and LMDBs: BasicSR's PairedImageDataset and SingleImageDataset with their input checked.

The option keys, the order of the random numbers and the samples are BasicSR's. What differs: files are paired by name, in
the order of names; every fault is one sentence with the file's name, before the network runs wherever it can be known.
"""

import functools
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from torch.utils.data import Dataset

from vapsr_arch.data.folders import split_images
from vapsr_arch.data.from_basicsr import get_root_logger
from vapsr_arch.data.image_files import read_header
from vapsr_arch.data.images import conversion_notes, decode, read_bytes
from vapsr_arch.data.lmdb_store import open_lmdb
from vapsr_arch.data.paired_dataset import PairedDataset, to_tensor
from vapsr_arch.data.pairs import (
    check_pairs,
    pairs_from_folders,
    pairs_from_lmdb,
    pairs_from_meta_info,
    read_lmdb_headers,
    read_meta_info,
)
from vapsr_arch.errors import VapsrError


@functools.cache
def _environment(folder: str) -> lmdb.Environment:
    """An LMDB, open: lmdb refuses to open one twice in a process, as a train and a val set on the same one would."""
    return open_lmdb(folder)


def _read_image(path: str, lmdb_folder: str | None) -> np.ndarray:
    """H x W x 3, BGR, uint8, from a file or from the LMDB's record of that key."""
    if lmdb_folder is None:
        return decode(read_bytes(path), path)
    try:
        with _environment(lmdb_folder).begin() as transaction:
            return decode(transaction.get(path.encode()), f'{path} of {lmdb_folder}')
    except lmdb.Error as error:
        raise VapsrError(f'{lmdb_folder}: the LMDB cannot be read: {error}') from None


class CheckedPairedImageDataset(PairedDataset):
    """LR and HR images, from folders, a meta info file or LMDBs.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, `io_backend`, `scale`, `phase`; optionally `meta_info_file`, `filename_tmpl`,
            `color`, `mean` and `std`; for training `gt_size` (HR pixels), `use_hflip`, `use_rot`.

    Raises:
        VapsrError: An image is missing, has no partner or cannot be read, or the sizes of a pair do not fit.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        gt_root, lq_root = opt['dataroot_gt'], opt['dataroot_lq']
        template = opt.get('filename_tmpl', '{}')
        backend = opt['io_backend']['type']
        if backend == 'lmdb':
            self.pairs = pairs_from_lmdb(gt_root, lq_root)
        elif 'meta_info_file' in opt:
            self.pairs = pairs_from_meta_info(gt_root, lq_root, opt['meta_info_file'], template)
        else:
            self.pairs = pairs_from_folders(gt_root, lq_root, template)
        check_pairs(self.pairs, opt['scale'], opt['gt_size'] if self.is_train else None, opt['name'])
        self.gt_lmdb, self.lq_lmdb = (gt_root, lq_root) if backend == 'lmdb' else (None, None)
        if not self.is_train:
            # Benchmark sets are small: a damaged file is found now, not in the middle of a run.
            for index in range(len(self)):
                self._read(index)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        pair = self.pairs[index]
        return _read_image(pair.gt, self.gt_lmdb), _read_image(pair.lq, self.lq_lmdb), pair.gt, pair.lq

    def lq_name_and_size(self, index: int) -> tuple[str, int, int]:
        """The path, or the name, of an LR image, its height and its width."""
        pair = self.pairs[index]
        return pair.lq, pair.lq_header.height, pair.lq_header.width

    def __len__(self) -> int:
        return len(self.pairs)


class CheckedSingleImageDataset(Dataset):
    """LR images without ground truth, from a folder, a meta info file or an LMDB.

    Args:
        opt: `dataroot_lq`, `io_backend`; optionally `meta_info_file`, `color`, `mean` and `std`.

    Raises:
        VapsrError: The folder has no image, or an image is missing or cannot be read.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        root, backend = opt['dataroot_lq'], opt['io_backend']['type']
        if backend == 'lmdb':
            self.paths = sorted(read_lmdb_headers(root))
        else:
            if 'meta_info_file' in opt:
                self.paths = [str(Path(root, name)) for name in read_meta_info(opt['meta_info_file'])]
            else:
                self.paths = [str(path) for path in split_images(root)[0]]
            for note in conversion_notes(read_header(path) for path in self.paths):
                get_root_logger().warning(f'{opt["name"]}: {note}')
        self.lmdb = root if backend == 'lmdb' else None
        for path in self.paths:
            _read_image(path, self.lmdb)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        return {'lq': to_tensor(_read_image(path, self.lmdb), self.opt), 'lq_path': path}
