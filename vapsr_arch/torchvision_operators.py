"""torchvision from PyPI, a CUDA build, beside a CPU build of torch."""

import functools

import torch

_defined: list[torch.library.Library] = []  # operators are gone when their library is


@functools.cache
def define_torchvision_operators() -> None:
    """Declares the operators without which torchvision cannot be imported: `operator torchvision::nms does not exist`.

    torchvision describes two operators of its compiled part, which does not load beside another build of torch. Nothing here
    calls them, so that declaring them is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        library = torch.library.Library('torchvision', 'FRAGMENT')
        library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _defined.append(library)
