"""Small networks in files, which upscale fast."""

from pathlib import Path

import pytest
import torch

from vapsr_arch.archs import NETWORKS


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VapSR of one block, x2, with a halo of 12."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'params': NETWORKS['VapSR'](scale=2, num_feat=8, num_block=1, d_atten=16).state_dict()}, path)
    return path
