"""float32 is float32, by the settings that torch recommends."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from vapsr_arch.archs.common.float32 import use_exact_float32


@pytest.fixture
def settings() -> Iterator[None]:
    """Gives torch its own settings back."""
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = 'tf32'
    torch.backends.cuda.matmul.fp32_precision = 'none'


def test_tf32_is_off_for_convolutions_and_products_alike(settings: None) -> None:
    torch.backends.cuda.matmul.fp32_precision = 'tf32'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        use_exact_float32()
        assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == 'ieee'
        assert not torch.backends.cudnn.allow_tf32  # what other libraries ask is still answered
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as torch.export does
            pass
        assert torch.backends.cudnn.conv.fp32_precision != 'tf32'
