"""What every network here checks: the arguments of its constructor and the shape of its input."""

from torch import Tensor


def check_positive_integers(network: str, **arguments: int) -> None:
    """Checks a constructor's arguments.

    Args:
        network: The network's name, for the message.
        **arguments: The arguments by name.

    Raises:
        ValueError: One is not a positive integer.
    """
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f'{network}: {name} must be a positive integer, not {value!r}')


def check_input(network: str, x: Tensor, num_in_ch: int, min_size: int = 1) -> None:
    """Checks a batch of images.

    Args:
        network: The network's name, for the message.
        x: What should be N x num_in_ch x H x W.
        num_in_ch: Channels that the network takes.
        min_size: The smallest H and W that it takes.

    Raises:
        ValueError: x has another number of dimensions or channels, or is too small.
    """
    if x.ndim != 4 or x.shape[1] != num_in_ch:
        shape = ' x '.join(map(str, x.shape))
        raise ValueError(f'{network}: the input must be N x {num_in_ch} x H x W, not {shape}')
    if x.shape[2] < min_size or x.shape[3] < min_size:
        raise ValueError(f'{network}: the input must be {min_size}x{min_size} pixels at least, not '
                         f'{x.shape[2]}x{x.shape[3]}')
