"""Receptive fields and attributions of networks small enough to know the answer."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import photograph
from vapsr_arch.errors import VapsrError
from vapsr_arch.report import receptive_field
from vapsr_arch.report.comparison import Patch
from vapsr_arch.report.receptive_field import (
    NetworkFields,
    diffusion_index,
    draw_receptive_fields,
    effective_receptive_field,
    integrated_gradients,
    local_attribution_map,
    receptive_field_side,
)

SMALL_X2 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 12, 5, padding=2), nn.PixelShuffle(2))


def image_of(height: int, width: int) -> Tensor:
    return torch.from_numpy(photograph(height, width, 0)).permute(2, 0, 1).float() / 255


def test_effective_receptive_field_of_a_convolution_is_its_kernel() -> None:
    convolution = nn.Conv2d(3, 2, 5, padding=2)
    erf = effective_receptive_field(convolution, [torch.rand(3, 11, 9) for _ in range(2)])
    kernel = convolution.weight.detach().sum(0).abs().sum(0).numpy()
    np.testing.assert_allclose(erf[3:8, 2:7], kernel, rtol=1e-5)
    assert erf.shape == (11, 9) and np.count_nonzero(erf) == kernel.size
    assert convolution.weight.grad is None and convolution.weight.requires_grad and convolution.training


def test_effective_receptive_field_of_a_stack_is_centred_in_its_upscaled_output() -> None:
    erf = effective_receptive_field(SMALL_X2, [torch.rand(3, 13, 13)])
    assert {tuple(line) for line in np.argwhere(erf)} == {(y, x) for y in range(3, 10) for x in range(3, 10)}


def test_side_of_the_square_that_holds_a_fraction() -> None:
    erf = np.zeros((9, 7))
    erf[4, 3], erf[4, 4], erf[1, 3] = 60, 30, 10
    assert [receptive_field_side(erf, fraction) for fraction in (0.6, 0.61, 0.9, 0.91, 1)] == [1, 3, 3, 7, 7]


def test_attribution_is_zero_where_the_window_sees_nothing() -> None:
    lam = local_attribution_map(SMALL_X2, image_of(24, 28), Patch(x=20, y=16, width=4, height=6))
    seen = np.zeros((24, 28), bool)
    seen[8 - 3:11 + 3, 10 - 3:12 + 3] = True  # the window's input pixels and three around them
    assert lam.shape == seen.shape and not lam[~seen].any() and (lam[seen] > 0).mean() > 0.9


def test_contributions_add_up_to_the_difference_of_the_detector() -> None:
    def detector(output: Tensor) -> Tensor:
        return output[..., 8:24, 8:24].square().sum()

    torch.manual_seed(0)
    image = image_of(20, 20)
    contributions = integrated_gradients(SMALL_X2, image, detector, steps=400)
    with torch.no_grad():
        blurred = torch.from_numpy(cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (9, 9), receptive_field.SIGMA,
                                                    borderType=cv2.BORDER_REFLECT_101)).permute(2, 0, 1)
        difference = detector(SMALL_X2(image[None])) - detector(SMALL_X2(blurred[None]))
    assert contributions.sum().item() == pytest.approx(difference.item(), rel=0.02)


def test_an_attribution_of_nothing_has_no_diffusion_index() -> None:
    lam = local_attribution_map(SMALL_X2, torch.zeros(3, 16, 16), Patch(8, 8, 4, 4))
    with pytest.raises(VapsrError, match='no pixel of the image contributes to the window: choose'):
        diffusion_index(lam)


@pytest.mark.parametrize('window', [Patch(0, 0, 1, 8), Patch(-1, 0, 8, 8), Patch(20, 0, 8, 9), Patch(0, 30, 8, 3)])
def test_a_window_outside_the_output_is_refused(window: Patch) -> None:
    with pytest.raises(VapsrError) as error:
        local_attribution_map(SMALL_X2, torch.rand(3, 16, 12), window)
    assert str(error.value) == (
        f'a window of {window.width}x{window.height} pixels at {window.x}, {window.y} cannot be attributed: it must be 2x2 '
        f'at least and lie in the output, 24x32 pixels')


def test_diffusion_index() -> None:
    one = np.zeros((10, 20))
    one[3, 4] = 5
    assert diffusion_index(np.full((10, 20), 0.3, np.float32)) == pytest.approx(100)
    assert diffusion_index(one) == pytest.approx(100 / 200)
    one[:5] = 5
    assert diffusion_index(one) == pytest.approx(50)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_figure(tmp_path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    fields = [NetworkFields(f'Net{i}', random.random((11, 11)), random.random((16, 20))) for i in range(count)]
    draw_receptive_fields(fields, photograph(16, 20, 1), Patch(8, 8, 16, 16), 4, tmp_path / 'fields.png')
    figure = cv2.imread(str(tmp_path / 'fields.png'))
    assert figure.shape[1] == 900 and figure.std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ['fields.png']
