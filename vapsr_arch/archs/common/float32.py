"""float32 that is float32: without TF32, which rounds the factors of convolutions and products to 10 bits on GPUs since 2020."""

import torch


def use_exact_float32() -> None:
    """Has this process compute convolutions, matrix products and recurrent layers on GPUs in float32 where they are float32.

    By default torch takes TF32 for convolutions and not for products, so that results depend on the GPU.
    """
    # The older setting, too: torch.export and cudnn.flags read it, which torch refuses where the newer ones alone are set.
    torch.backends.cudnn.allow_tf32 = False
    if hasattr(torch.backends.cudnn, 'conv'):
        for operators in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul):
            operators.fp32_precision = 'ieee'
    else:  # torch before 2.9
        torch.backends.cuda.matmul.allow_tf32 = False
