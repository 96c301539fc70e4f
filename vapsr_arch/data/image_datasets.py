"""Data sets of image files and LMDBs: BasicSR's PairedImageDataset and SingleImageDataset with their input checked.

The option keys, the order of the random numbers and the samples are BasicSR's. What differs: files are paired by name, in
the order of names; every fault is one sentence with the file's name, before the network runs wherever it can be known.
"""

from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import FileClient, get_root_logger
from torch.utils.data import Dataset

from vapsr_arch.data.images import conversion_notes, decode, read_header, split_images
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


class _ImageReader:
    """Reads images by path or LMDB key; the LMDBs are opened by the process that reads."""

    def __init__(self, backend: str, lmdbs: dict[str, str]) -> None:
        self.backend = backend
        self.lmdbs = lmdbs
        self.client: FileClient | None = None

    def read(self, path: str, client_key: str) -> np.ndarray:
        """H x W x 3, BGR, uint8."""
        if self.client is None:
            arguments = dict(db_paths=list(self.lmdbs.values()), client_keys=list(self.lmdbs)) if self.lmdbs else {}
            self.client = FileClient(self.backend, **arguments)
        try:
            content = self.client.get(path, client_key)
        except OSError as error:
            raise VapsrError(f'{path} cannot be read: {error.strerror}') from None
        name = f'{path} of {self.lmdbs[client_key]}' if self.lmdbs else path
        return decode(content, name)


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
        self.reader = _ImageReader(backend, {'lq': lq_root, 'gt': gt_root} if backend == 'lmdb' else {})
        if not self.is_train:
            # Benchmark sets are small: a damaged file is found now, not in the middle of a run.
            for index in range(len(self)):
                self._read(index)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        pair = self.pairs[index]
        return self.reader.read(pair.gt, 'gt'), self.reader.read(pair.lq, 'lq'), pair.gt, pair.lq

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
        self.reader = _ImageReader(backend, {'lq': root} if backend == 'lmdb' else {})
        for path in self.paths:
            self.reader.read(path, 'lq')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        return {'lq': to_tensor(self.reader.read(path, 'lq'), self.opt), 'lq_path': path}
