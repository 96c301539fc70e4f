"""The authors' checkpoints in the networks of this package: they fit, and score on Set5 what their authors' code scores."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vapsr_arch.archs import NETWORKS
from vapsr_arch.pipeline.registration import register
from vapsr_arch.weights.checkpoints import load_state_dict
from vapsr_arch.weights.networks import load_into, mismatch

# Checkpoint, network, scale, PSNR and SSIM on Set5.
SCORES = [
    ('IMDN_x2', 'IMDN', 2, 37.9960, 0.9605),
    ('IMDN_x3', 'IMDN', 3, 34.3597, 0.9270),
    ('IMDN_x4', 'IMDN', 4, 32.2096, 0.8948),
    ('RFDN_AIM', 'RFDN', 4, 32.1589, 0.8946),
    ('BSRN_x2', 'BSRN', 2, 38.0830, 0.9608),
    ('BSRN_x3', 'BSRN', 3, 34.4502, 0.9276),
    ('BSRN_x4', 'BSRN', 4, 32.3488, 0.8965),
    ('BSRN-S', 'BSRN_S', 4, 32.1570, 0.8949),
    ('PANx2_DF2K', 'PAN', 2, 38.0007, 0.9605),
    ('PANx3_DF2K', 'PAN', 3, 34.4003, 0.9272),
    ('PANx4_DF2K', 'PAN', 4, 32.1311, 0.8948),
]


@pytest.mark.parametrize(('checkpoint', 'name', 'scale', 'psnr', 'ssim'), SCORES, ids=[row[0] for row in SCORES])
def test_checkpoint_scores_what_its_authors_code_scores(checkpoint: str, name: str, scale: int, psnr: float,
                                                        ssim: float, reference: Path) -> None:
    register()
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import img2tensor, tensor2img
    path = reference / f'weights/{checkpoint}.pth'
    network = NETWORKS[name](**{'upscale' if name.startswith('BSRN') else 'scale': scale})
    load_into(network, path)  # strictly
    network.eval().to(memory_format=torch.channels_last)
    border = dict(crop_border=scale, test_y_channel=True)
    scores = []
    for gt_path in sorted((reference / 'data/Set5/HR').iterdir()):
        lq = cv2.imread(str(reference / f'data/Set5/LR_bicubic/X{scale}' / gt_path.name))
        gt = cv2.imread(str(gt_path))[:scale * lq.shape[0], :scale * lq.shape[1]]
        with torch.inference_mode():
            image = tensor2img(network(img2tensor(lq.astype(np.float32) / 255)[None]))
        scores.append((calculate_psnr(image, gt, **border), calculate_ssim(image, gt, **border)))
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(psnr, abs=0.002)
    assert mean_ssim == pytest.approx(ssim, abs=0.0001)


@pytest.mark.parametrize(('checkpoint', 'name', 'scale'), [
    *(row[:3] for row in SCORES),
    *((f'VapSR_X{scale}', 'VapSR', scale) for scale in (2, 3, 4)), ('VapSR-S', 'VapSR', 4),
])
def test_checkpoint_determines_its_network(checkpoint: str, name: str, scale: int, reference: Path) -> None:
    state_dict, _ = load_state_dict(reference / f'weights/{checkpoint}.pth')
    claims = {key: network.infer(state_dict) for key, network in NETWORKS.items() if network.infer(state_dict) is not None}
    assert list(claims) == [name]
    with torch.device('meta'):
        network = NETWORKS[name](**claims[name])
    assert mismatch(network, state_dict) is None
    assert network.scale == (2 if checkpoint == 'PANx3_DF2K' else scale)  # PAN's x2 and x3 have the same shapes
