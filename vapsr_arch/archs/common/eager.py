"""Where operations of this project can stand in for torch's."""

import torch
from torch import Tensor


def is_eager_float32(x: Tensor) -> bool:
    """Whether a layer computes with x at once, on a CPU and in float32: it is neither traced, exported nor compiled."""
    return (x.device.type == 'cpu' and x.dtype == torch.float32 and not torch.is_autocast_enabled('cpu')
            and not torch.jit.is_tracing() and not torch.compiler.is_compiling() and not torch.compiler.is_exporting())
