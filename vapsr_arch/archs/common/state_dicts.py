"""Reading a network's arguments off its state dict: what the networks' `infer` have in common."""

import itertools
import math
from collections.abc import Mapping

from torch import Tensor


def has_weights(state_dict: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> bool:
    """Whether a state dict has all tensors of these names, each with this number of dimensions."""
    return all(name in state_dict and state_dict[name].ndim == ndim for name, ndim in dimensions.items())


def count_blocks(state_dict: Mapping[str, Tensor], name: str, first: int = 1) -> int:
    """Counts the names that a number gives, such as `B{}.c5.weight`, from the first number on."""
    return sum(1 for _ in itertools.takewhile(lambda i: name.format(i) in state_dict, itertools.count(first)))


def tail_scale(channels: int, num_in_ch: int) -> int | None:
    """Finds the scale of a tail with one PixelShuffle, for a network with as many output as input channels.

    Args:
        channels: Channels before the PixelShuffle: num_in_ch * scale**2. A tail alone would not distinguish the scale from the
            number of output channels.
        num_in_ch: Channels of the network's input.

    Returns:
        The scale; None where it is not a whole number.
    """
    scale = math.isqrt(channels // num_in_ch) if num_in_ch else 0
    return scale if scale and num_in_ch * scale**2 == channels else None
