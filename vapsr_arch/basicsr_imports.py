"""What has to be done before BasicSR 1.4.2 is imported for the first time on today's torch."""

import functools
import sys

from vapsr_arch.torchvision_operators import define_torchvision_operators


def alias_functional_tensor() -> None:
    """Gives `torchvision.transforms.functional_tensor`, which torchvision 0.17 dropped, the functions that live on elsewhere."""
    from torchvision.transforms import functional
    sys.modules.setdefault('torchvision.transforms.functional_tensor', functional)


@functools.cache
def make_basicsr_importable() -> None:
    """Lets torchvision and BasicSR be imported; a second call does nothing."""
    define_torchvision_operators()
    alias_functional_tensor()
