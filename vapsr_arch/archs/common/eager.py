"""Where operations of this project can stand in for torch's."""

import torch
from torch import Tensor


def trains_in_float32(*tensors: Tensor | None) -> bool:
    """Whether a layer computes with tensors at once, for gradients, on a CPU and in float32; None is no tensor.

    That is not so where it is traced, exported or compiled.
    """
    return (torch.is_grad_enabled() and not torch.is_autocast_enabled('cpu') and not torch.jit.is_tracing()
            and not torch.compiler.is_compiling() and not torch.compiler.is_exporting()
            and all(tensor is None or (tensor.device.type == 'cpu' and tensor.dtype == torch.float32) for tensor in tensors))
