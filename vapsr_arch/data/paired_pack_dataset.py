"""Training and test pairs from packs: crops of decoded pixels, without a PNG in the way."""

import random
from typing import Any

import numpy as np

from vapsr_arch.data.from_basicsr import get_root_logger
from vapsr_arch.data.pack import Pack
from vapsr_arch.data.paired_dataset import PairedDataset
from vapsr_arch.data.pairs import lq_name
from vapsr_arch.data.sampler import SeededIndex, seed_from
from vapsr_arch.errors import VapsrError
from vapsr_arch.options.roots import NO_LIST_IN_TESTS


class PairedPackDataset(PairedDataset):
    """LR and HR images from packs, paired by name.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`: packs; `scale`, `phase`; optionally `filename_tmpl`, `color`, `mean` and `std`;
            for training `gt_size` (HR pixels), `use_hflip`, `use_rot`. For training `dataroot_lq` may be a list of packs,
            each with an LR image of every HR image: a sample is taken from one of them at random.

    Raises:
        VapsrError: A pack cannot be read, an image has no partner, the sizes of a pair do not fit, or a list is given for
            testing.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        roots = opt['dataroot_lq']
        if isinstance(roots, list) and not self.is_train:
            raise VapsrError(f'{opt["name"]}: dataroot_lq: {NO_LIST_IN_TESTS}')
        self.gt, self.lqs = Pack(opt['dataroot_gt']), [Pack(root) for root in (roots if isinstance(roots, list) else [roots])]
        self.partners = [self._partners(lq, opt.get('filename_tmpl', '{}')) for lq in self.lqs]
        for lq, partners in zip(self.lqs, self.partners):
            self._check_sizes(lq, partners)
        packs = ', '.join(lq.path for lq in self.lqs)
        get_root_logger().info(f'{opt["name"]}: {len(self)} pairs of {self.gt.path} and {"one of " * (len(self.lqs) > 1)}{packs}')

    def _partners(self, lq: Pack, template: str) -> np.ndarray:
        """The positions of the HR images' LR images in a pack."""
        if len(self.gt) == 0:
            raise VapsrError(f'{self.gt.path}: the pack has no image')
        partners = np.empty(len(self.gt), np.int64)
        places = {name: position for position, name in enumerate(lq.names())}
        for position, name in enumerate(self.gt.names()):
            wanted = lq_name(template, name)
            if wanted not in places:
                raise VapsrError(f'{name} of {self.gt.path} has no partner: no image named {wanted} in {lq.path}')
            partners[position] = places[wanted]
        if len(lq) > len(self.gt):
            alone = np.setdiff1d(np.arange(len(lq)), partners)[0]
            raise VapsrError(f'{lq.name(int(alone))} of {lq.path} has no partner: no HR image of its name in {self.gt.path}')
        return partners

    def _check_sizes(self, lq_pack: Pack, partners: np.ndarray) -> None:
        scale, gt_size = self.opt['scale'], self.opt['gt_size'] if self.is_train else 0
        gt = np.stack([self.gt.index['height'], self.gt.index['width']])
        lq = np.stack([lq_pack.index['height'], lq_pack.index['width']])[:, partners]
        for wrong, fault in (
                ((lq != gt // scale).any(0), f'is not the size of its LR image in {lq_pack.path} times {scale}'),
                ((gt % scale).any(0) & self.is_train, f'is not a multiple of the scale {scale}: for training, cut HR images '
                                                      f'to one'),
                (gt.min(0) < gt_size, f'is smaller than gt_size {gt_size}: lower gt_size or leave the image out')):
            if wrong.any():
                position = int(np.argmax(wrong))
                height, width = self.gt.shape(position)
                raise VapsrError(f'{self.gt.name(position)} of {self.gt.path}, {height}x{width} (height x width), {fault}')

    def lq_name_and_size(self, index: int) -> tuple[str, int, int]:
        """The name of an LR image, its height and its width."""
        lq, partner = self.lqs[0], int(self.partners[0][index])  # the same in all packs
        return lq.name(partner), *lq.shape(partner)

    def __len__(self) -> int:
        return len(self.gt)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        chosen = self._chosen(index)
        lq, partner = self.lqs[chosen], int(self.partners[chosen][index])
        return self.gt[index], lq[partner], self.gt.name(index), lq.name(partner)

    def _chosen(self, index: int) -> int:
        """Which pack a sample's LR image is taken from; crops and flips do not depend on how many there are."""
        if len(self.lqs) == 1:
            return 0
        return seed_from(index.seed) % len(self.lqs) if isinstance(index, SeededIndex) else random.randrange(len(self.lqs))
