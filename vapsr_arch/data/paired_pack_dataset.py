"""Training and test pairs from packs: crops of decoded pixels, without a PNG in the way."""

from typing import Any

import numpy as np
from basicsr.utils import get_root_logger

from vapsr_arch.data.pack import Pack
from vapsr_arch.data.paired_dataset import PairedDataset
from vapsr_arch.data.pairs import lq_name
from vapsr_arch.errors import VapsrError


class PairedPackDataset(PairedDataset):
    """LR and HR images from two packs, paired by name.

    Args:
        opt: `dataroot_gt`, `dataroot_lq`: packs; `scale`, `phase`; optionally `filename_tmpl`, `color`, `mean` and `std`;
            for training `gt_size` (HR pixels), `use_hflip`, `use_rot`.

    Raises:
        VapsrError: A pack cannot be read, an image has no partner, or the sizes of a pair do not fit.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.gt, self.lq = Pack(opt['dataroot_gt']), Pack(opt['dataroot_lq'])
        self.partners = self._partners(opt.get('filename_tmpl', '{}'))
        self._check_sizes()

    def _partners(self, template: str) -> np.ndarray:
        """The positions of the HR images' LR images."""
        if len(self.gt) == 0:
            raise VapsrError(f'{self.gt.path}: the pack has no image')
        partners = np.empty(len(self.gt), np.int64)
        places = {name: position for position, name in enumerate(self.lq.names())}
        for position, name in enumerate(self.gt.names()):
            wanted = lq_name(template, name)
            if wanted not in places:
                raise VapsrError(f'{name} of {self.gt.path} has no partner: no image named {wanted} in {self.lq.path}')
            partners[position] = places[wanted]
        if len(self.lq) > len(self.gt):
            alone = np.setdiff1d(np.arange(len(self.lq)), partners)[0]
            raise VapsrError(f'{self.lq.name(int(alone))} of {self.lq.path} has no partner: no HR image of its name in '
                             f'{self.gt.path}')
        return partners

    def _check_sizes(self) -> None:
        scale, gt_size = self.opt['scale'], self.opt['gt_size'] if self.is_train else 0
        gt = np.stack([self.gt.index['height'], self.gt.index['width']])
        lq = np.stack([self.lq.index['height'], self.lq.index['width']])[:, self.partners]
        for wrong, fault in (
                ((lq != gt // scale).any(0), f'is not the size of its LR image in {self.lq.path} times {scale}'),
                ((gt % scale).any(0) & self.is_train, f'is not a multiple of the scale {scale}: for training, cut HR images '
                                                      f'to one'),
                (gt.min(0) < gt_size, f'is smaller than gt_size {gt_size}: lower gt_size or leave the image out')):
            if wrong.any():
                position = int(np.argmax(wrong))
                height, width = self.gt.shape(position)
                raise VapsrError(f'{self.gt.name(position)} of {self.gt.path}, {height}x{width} (height x width), {fault}')
        get_root_logger().info(f'{self.opt["name"]}: {len(self)} pairs of {self.gt.path} and {self.lq.path}')

    def lq_name_and_size(self, index: int) -> tuple[str, int, int]:
        """The name of an LR image, its height and its width."""
        partner = int(self.partners[index])
        return self.lq.name(partner), *self.lq.shape(partner)

    def __len__(self) -> int:
        return len(self.gt)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        partner = int(self.partners[index])
        return self.gt[index], self.lq[partner], self.gt.name(index), self.lq.name(partner)
