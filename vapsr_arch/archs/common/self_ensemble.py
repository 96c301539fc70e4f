"""The mean over eight flips and rotations of an image (Timofte et al., "Seven Ways to Improve Example-Based Single Image Super
Resolution", CVPR 2016, where it is called enhanced prediction)."""

from collections.abc import Callable

import torch
from torch import Tensor


def self_ensembled(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean of a network's results for an image's eight flips and rotations, turned back.

    Args:
        network: Takes N x C x H x W and N x C x W x H.
        x: The image, N x C x H x W.
    """
    total = torch.zeros((), device=x.device)
    for turned in (False, True):
        for flipped in ((), (2,), (3,), (2, 3)):
            result = network((x.mT if turned else x).flip(flipped)).flip(flipped)
            total = total + (result.mT if turned else result)
    return total / 8
