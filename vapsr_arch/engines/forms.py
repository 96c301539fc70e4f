"""The forms in which an engine can run a network, fast ones first, and the check that one works on this machine."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.errors import VapsrError

Run = Callable[[Tensor], Tensor]
# Of the largest output. Rounding alone takes 4e-7, 9e-4 and 7e-3 of it in VapSR-S_x4.
TOLERANCE = {'fp32': 1e-3, 'fp16': 3e-2, 'bf16': 1e-1}
_SIDE = 16  # pixels of the image that is tried, for which VapSR-S takes 14 ms on a CPU


class Form(NamedTuple):
    """A form of a network.

    Attributes:
        name: What it is called in a warning.
        precision: What it computes in, of `TOLERANCE`.
        make: Makes what runs it; may raise anything.
    """

    name: str
    precision: str
    make: Callable[[], Run]


def trial(network: nn.Module) -> tuple[Tensor, Tensor]:
    """A small image, N x C x H x W in [0, 1], and what torch's plain layers make of it on the CPU in float32.

    Args:
        network: The network, on the CPU in float32, with what `weights.described` gives it.
    """
    height, width = (max(network.min_size, side) for side in (_SIDE, _SIDE + 1))
    # As smooth as a photograph: with white noise, VapSR-S_x4 in bfloat16 differs by a third more.
    coarse = torch.rand(1, network.num_in_ch, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(0))
    x = F.interpolate(coarse, (height, width), mode='bilinear')
    with torch.inference_mode():
        return x, network(x)


def first_sound(forms: Sequence[Form], x: Tensor, expected: Tensor) -> Run:
    """Returns the first form that gives the expected result; a warning says why the ones before it fail.

    Args:
        forms: Forms, the best first.
        x: An image.
        expected: What each must make of it, within its precision's `TOLERANCE`.

    Raises:
        VapsrError: None of them works.
    """
    for number, form in enumerate(forms, start=1):
        try:
            run = form.make()
            with torch.inference_mode():
                fault = _difference(run(x).to('cpu', torch.float32), expected, form.precision)
        except VapsrError:
            raise
        except Exception as error:  # kernels, compilers and drivers each have their own kinds of error
            fault = f'{type(error).__name__}: {next(iter(str(error).strip().splitlines()), "no reason given")}'
        if fault is None:
            return run
        if number == len(forms):
            raise VapsrError(f'{form.name} does not work on this machine ({fault}): choose another device, precision or engine')
        logging.getLogger('basicsr').warning(f'{form.name} does not work on this machine ({fault}); '
                                                f'{forms[number].name} is used.')
    raise ValueError('no form is given')


def _difference(result: Tensor, expected: Tensor, precision: str) -> str | None:
    """What is wrong with a result; None if nothing is."""
    if result.shape != expected.shape:
        return f'its result is of the shape {tuple(result.shape)} in place of {tuple(expected.shape)}'
    if not expected.isfinite().all():  # weights with such values: nothing can be compared
        return None
    if not result.isfinite().all():
        return 'its result is not finite'
    difference, largest = (result - expected).abs().max().item(), max(1, expected.abs().max().item())
    if difference > TOLERANCE[precision] * largest:
        return f'its result differs by {difference:.1e} from that of torch\'s plain layers'
    return None
