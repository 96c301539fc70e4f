"""What the data sets of LR and HR pairs share: random crops, flips and rotations, and the way to tensors."""

import random
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from vapsr_arch.data.from_basicsr import bgr2ycbcr, img2tensor
from vapsr_arch.data.sampler import SeededIndex


def random_crop(gt: np.ndarray, lq: np.ndarray, gt_size: int, scale: int,
                source: random.Random | ModuleType) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the same square out of an HR and its LR image; views of H x W x C. `source` is drawn from twice."""
    size = gt_size // scale
    top = source.randint(0, lq.shape[0] - size)
    left = source.randint(0, lq.shape[1] - size)
    return (gt[top * scale:top * scale + gt_size, left * scale:left * scale + gt_size],
            lq[top:top + size, left:left + size])


def flip_and_rotate(images: list[np.ndarray], use_hflip: bool, use_rot: bool,
                    source: random.Random | ModuleType) -> list[np.ndarray]:
    """Turns images alike into one of their eight positions; views of H x W x C.

    The random numbers are drawn in the order of basicsr/data/transforms.py: horizontal, vertical, transposed.
    """
    hflip = use_hflip and source.random() < 0.5
    vflip = use_rot and source.random() < 0.5
    transpose = use_rot and source.random() < 0.5
    images = [image[::-1 if vflip else 1, ::-1 if hflip else 1] for image in images]
    return [image.swapaxes(0, 1) for image in images] if transpose else images


def augment_colours(images: list[np.ndarray], permutation: float, negative: float,
                    source: random.Random | ModuleType) -> list[np.ndarray]:
    """Changes the colours of images alike: permutes their channels, turns them into their negatives, or neither.

    Args:
        images: H x W x 3, uint8.
        permutation: The probability of a permutation of the channels, drawn from all six.
        negative: The probability of the negative, 255 minus each value.
        source: Where the random numbers come from. None is drawn for a probability of 0.

    Returns:
        The images; views where no negative is taken.
    """
    if permutation and source.random() < permutation:
        order = source.sample(range(3), 3)
        images = [image[:, :, order] for image in images]
    if negative and source.random() < negative:
        images = [255 - image for image in images]
    return images


def to_tensor(image: np.ndarray, opt: dict[str, Any]) -> torch.Tensor:
    """Turns an image of a data set into a network's input.

    Args:
        image: H x W x 3, uint8, BGR.
        opt: The data set's options: `color: y` for luma alone, `mean` and `std` to normalise with.

    Returns:
        C x H x W, RGB or Y, float32; [0, 1] unless `mean` and `std` say otherwise.
    """
    if opt.get('color') == 'y':
        luma = bgr2ycbcr(image.astype(np.float32) / 255, y_only=True)[..., None]
        tensor = img2tensor(luma, bgr2rgb=False, float32=True)
    else:
        planes = image.transpose(2, 0, 1)[::-1].astype(np.float32, order='C')
        planes /= 255
        tensor = torch.from_numpy(planes)
    if 'mean' in opt or 'std' in opt:
        normalize(tensor, opt['mean'], opt['std'], inplace=True)
    return tensor


class PairedDataset(Dataset, ABC):
    """LR and HR pairs, wherever they come from; `_read`, `lq_name_and_size` and `__len__` are the subclass's.

    Args:
        opt: `scale`, `phase`; optionally `color`, `mean` and `std`; for training `gt_size` (HR pixels), `use_hflip`,
            `use_rot`; and optionally the probabilities `channel_permutation` and `negative` of `augment_colours`.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.is_train = opt['phase'] == 'train'

    @abstractmethod
    def __len__(self) -> int:
        """How many pairs there are."""

    @abstractmethod
    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        """HR and LR images, H x W x 3, uint8, BGR, and their paths."""

    @abstractmethod
    def lq_name_and_size(self, index: int) -> tuple[str, int, int]:
        """The path, or the name, of an LR image, its height and its width."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        gt, lq, gt_path, lq_path = self._read(index)
        if self.is_train:
            source = random.Random(index.seed) if isinstance(index, SeededIndex) else random
            gt, lq = random_crop(gt, lq, self.opt['gt_size'], self.opt['scale'], source)
            gt, lq = flip_and_rotate([gt, lq], self.opt['use_hflip'], self.opt['use_rot'], source)
            gt, lq = augment_colours([gt, lq], self.opt.get('channel_permutation', 0), self.opt.get('negative', 0), source)
        else:
            gt = gt[:lq.shape[0] * self.opt['scale'], :lq.shape[1] * self.opt['scale']]
        return {'lq': to_tensor(lq, self.opt), 'gt': to_tensor(gt, self.opt), 'lq_path': lq_path, 'gt_path': gt_path}
