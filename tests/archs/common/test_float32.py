"""float32 is float32, by the settings that torch recommends."""

import warnings

import pytest
import torch

from vapsr_arch.archs.common.float32 import use_exact_float32


@pytest.fixture
def settings() -> object:
    operators = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [operator.fp32_precision for operator in operators]
    yield
    for operator, precision in zip(operators, before):
        operator.fp32_precision = precision


def test_tf32_is_off_for_convolutions_and_products_alike(settings: object) -> None:
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = 'tf32'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        use_exact_float32()
        assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == 'ieee'
        assert not torch.backends.cudnn.allow_tf32  # what other libraries ask is still answered
    assert torch.get_float32_matmul_precision() == 'highest'
