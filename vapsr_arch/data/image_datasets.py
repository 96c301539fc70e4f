"""Data sets of image files and LMDBs: BasicSR's PairedImageDataset and SingleImageDataset with their input checked.

The option keys, the order of the random numbers and the samples are BasicSR's. What differs: files are paired by name, in
the order of names; every fault is one sentence with the file's name, before the network runs wherever it can be known.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, bgr2ycbcr, get_root_logger, img2tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from vapsr_arch.data.images import conversion_notes, decode, read_header, split_images
from vapsr_arch.data.pairs import (
    Pair,
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
        """H x W x 3, BGR, float32 in [0, 1]."""
        if self.client is None:
            arguments = dict(db_paths=list(self.lmdbs.values()), client_keys=list(self.lmdbs)) if self.lmdbs else {}
            self.client = FileClient(self.backend, **arguments)
        try:
            content = self.client.get(path, client_key)
        except OSError as error:
            raise VapsrError(f'{path} cannot be read: {error.strerror}') from None
        name = f'{path} of {self.lmdbs[client_key]}' if self.lmdbs else path
        return decode(content, name).astype(np.float32) / 255


def _to_tensor(image: np.ndarray, opt: dict[str, Any]) -> torch.Tensor:
    """C x H x W, RGB (or Y, for `color: y`), float32; [0, 1] unless `mean` and `std` say otherwise."""
    if opt.get('color') == 'y':
        image = bgr2ycbcr(image, y_only=True)[..., None]
    tensor = img2tensor(image, bgr2rgb=True, float32=True)
    if 'mean' in opt or 'std' in opt:
        normalize(tensor, opt['mean'], opt['std'], inplace=True)
    return tensor


class CheckedPairedImageDataset(Dataset):
    """LR and HR images, from folders, a meta info file or LMDBs.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`, `io_backend`, `scale`, `phase`; optionally `meta_info_file`, `filename_tmpl`,
            `color`, `mean` and `std`; for training `gt_size` (HR pixels), `use_hflip`, `use_rot`.

    Raises:
        VapsrError: An image is missing, has no partner or cannot be read, or the sizes of a pair do not fit.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.is_train = opt['phase'] == 'train'
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
            for pair in self.pairs:  # benchmark sets are small: a damaged file is found now, not in the middle of a run
                self._read(pair)

    def _read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        return self.reader.read(pair.gt, 'gt'), self.reader.read(pair.lq, 'lq')

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair, scale = self.pairs[index], self.opt['scale']
        gt, lq = self._read(pair)
        if self.is_train:
            gt, lq = paired_random_crop(gt, lq, self.opt['gt_size'], scale, pair.gt)
            gt, lq = augment([gt, lq], self.opt['use_hflip'], self.opt['use_rot'])
        else:
            gt = gt[:lq.shape[0] * scale, :lq.shape[1] * scale]
        return {'lq': _to_tensor(lq, self.opt), 'gt': _to_tensor(gt, self.opt), 'lq_path': pair.lq, 'gt_path': pair.gt}


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
        return {'lq': _to_tensor(self.reader.read(path, 'lq'), self.opt), 'lq_path': path}
