"""What `degrade` does to an image: blur, downscale, noise and JPEG, each measured alone."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from vapsr_arch.data.degrade import degrade, gaussian_kernel
from vapsr_arch.data.degrade_strengths import Strengths, load_strengths
from vapsr_arch.data.matlab_resize import imresize

# As `vapsr data lr`: nothing but MATLAB's bicubic.
NOTHING = {'blur': {'kinds': {'none': 1}}, 'downscale': {'kernels': {'bicubic': 1}}, 'noise': {'kinds': {'none': 1}},
           'jpeg': {'times': {'none': 1}}}
# What averaging 4 HR pixels into one, and taking differences of neighbours, adds to an edge's variance, in LR pixels squared:
# (1 - 1/16) / 12 each.
AREA_VARIANCE = 2 * (1 - 1 / 16) / 12


def strengths_of(folder: Path, **parts: dict[str, Any]) -> Strengths:
    """The strengths of NOTHING, but for some parts."""
    file = folder / 'strengths.yml'
    file.write_text(yaml.safe_dump(NOTHING | parts))
    return load_strengths(file)


def natural(height: int, width: int) -> np.ndarray:
    """Noise that is smooth at two scales, in colour."""
    random, image = np.random.default_rng(0), np.full((height, width, 3), 128.0)
    for scale, contrast in ((16, 40), (4, 20)):
        coarse = random.normal(0, contrast, (height // scale + 1, width // scale + 1, 3))
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def edge_variance(strengths: Strengths, seed: int, turned: bool = False) -> float:
    """How wide a vertical (or, turned, horizontal) edge comes out: the variance of its slope, in LR pixels squared."""
    hr = np.zeros((128, 128), np.uint8)
    hr[:, 64:] = 255
    lr = degrade(hr.T.copy() if turned else hr, 4, strengths, seed).astype(float)
    slope = np.diff((lr.T if turned else lr)[16]) / 255
    places = np.arange(len(slope))
    return float((slope * (places - (slope * places).sum())**2).sum())


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """The standard deviation of what two images differ by, in levels."""
    return float(np.std(first.astype(float) - second))


def test_strengths_of_one_part_leave_the_others_draws(tmp_path: Path) -> None:
    hr = natural(64, 64)
    noise = {'kinds': {'gaussian': 1, 'none': 1}}
    for seed in range(8):
        noisy = degrade(hr, 4, strengths_of(tmp_path, noise=noise, jpeg={'times': {'none': 1}}), seed)
        saved = degrade(hr, 4, strengths_of(tmp_path, noise=noise, jpeg={'times': {'once': 1}, 'quality': [100, 100],
                                                                         'chroma_420': 0}), seed)
        assert difference(noisy, saved) < 1.5


@pytest.mark.parametrize('sigma', [0.5, 1.0, 1.2])
def test_isotropic_blur_is_of_sigma_lr_pixels(sigma: float, tmp_path: Path) -> None:
    sharp = strengths_of(tmp_path, downscale={'kernels': {'area': 1}})
    blurred = strengths_of(tmp_path, downscale={'kernels': {'area': 1}},
                           blur={'kinds': {'isotropic': 1}, 'sigma': [sigma, sigma]})
    for turned in (False, True):
        assert edge_variance(sharp, 0, turned) == 0
        assert edge_variance(blurred, 0, turned) - AREA_VARIANCE == pytest.approx(sigma**2, rel=0.05)


def test_anisotropic_blur_has_two_widths_at_any_angle(tmp_path: Path) -> None:
    strengths = strengths_of(tmp_path, downscale={'kernels': {'area': 1}},
                             blur={'kinds': {'anisotropic': 1}, 'sigma': [1, 1], 'aspect': [0.5, 0.5]})
    widths = []
    for seed in range(12):
        widths.append(edge_variance(strengths, seed) - AREA_VARIANCE)
        both = widths[-1] + edge_variance(strengths, seed, turned=True) - AREA_VARIANCE
        assert both == pytest.approx(1 + 0.5**2, rel=0.05)
    assert min(widths) < 0.45 and max(widths) > 0.8


def test_gaussian_kernel_lies_at_its_angle() -> None:
    kernel = gaussian_kernel(4, 0.5, np.pi / 6)
    y, x = np.mgrid[-12:13, -12:13]
    covariance = [(kernel * first * second).sum() for first, second in ((x, x), (x, y), (y, y))]
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(covariance, [16 * 0.75 + 4 * 0.25, (16 - 4) * 0.75**0.5 / 2, 16 * 0.25 + 4 * 0.75], rtol=0.05)


@pytest.mark.parametrize('kernel', ['area', 'bilinear', 'bicubic', 'lanczos'])
@pytest.mark.parametrize('channels', [slice(3), 0])
def test_every_kernel_keeps_place_and_brightness(kernel: str, channels: slice | int, tmp_path: Path) -> None:
    hr = natural(96, 128)[..., channels].copy()
    lr = degrade(hr, 4, strengths_of(tmp_path, downscale={'kernels': {kernel: 1}}), 0)
    want = imresize(hr, 1 / 4)
    assert lr.shape == want.shape and lr.dtype == np.uint8
    assert (kernel == 'bicubic') == np.array_equal(lr, want)
    assert difference(lr, want) < 0.6 * min(difference(np.roll(want, 1, axis), want) for axis in (0, 1))
    assert lr.mean() == pytest.approx(hr.mean(), abs=0.5)


def test_gaussian_noise_is_of_sigma_levels_in_colour_or_grey(tmp_path: Path) -> None:
    flat = np.full((400, 400, 3), (90, 128, 60), np.uint8)
    for grey in (0, 1):
        noise = {'kinds': {'gaussian': 1}, 'sigma': [5, 5], 'grey': grey}
        added = degrade(flat, 4, strengths_of(tmp_path, noise=noise), 0).astype(float) - flat[:100, :100]
        assert added.std(axis=(0, 1)) == pytest.approx([5, 5, 5], rel=0.05) and abs(added.mean()) < 0.2
        correlation = np.corrcoef(added.reshape(-1, 3).T)[0, 1]
        assert correlation == pytest.approx(grey, abs=0.05)
    one_channel = degrade(flat[..., 0].copy(), 4, strengths_of(tmp_path, noise=noise), 0)
    assert one_channel.shape == (100, 100) and one_channel.std() == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize('grey', [0, 1])
def test_poisson_noise_grows_with_the_root_of_brightness(grey: int, tmp_path: Path) -> None:
    strengths = strengths_of(tmp_path, noise={'kinds': {'poisson': 1}, 'sigma': [6, 6], 'grey': grey})
    for level, sigma in ((128, 6), (32, 3), (0, 0)):
        lr = degrade(np.full((400, 400, 3), level, np.uint8), 4, strengths, 0)
        assert lr.std() == pytest.approx(sigma, rel=0.05, abs=0.01) and lr.mean() == pytest.approx(level, abs=0.2)
        assert not grey or np.array_equal(lr[..., 0], lr[..., 2])


def test_noise_is_mostly_small(tmp_path: Path) -> None:
    strengths = strengths_of(tmp_path, noise={'kinds': {'gaussian': 1}, 'sigma': [0, 6]})
    flat = np.full((128, 128), 128, np.uint8)
    sigmas = [degrade(flat, 4, strengths, seed).std() for seed in range(200)]
    assert max(sigmas) < 6.8 and 1 < np.median(sigmas) < 2.2  # 6 / 4


def test_jpeg_of_each_quality_and_sampling_once_and_twice(tmp_path: Path) -> None:
    hr = natural(128, 192)
    for times in (1, 2):
        for quality in (30, 95):
            for is_420, sampling in enumerate((cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)):
                want = imresize(hr, 1 / 4)
                for _ in range(times):
                    content = cv2.imencode('.jpg', want, [cv2.IMWRITE_JPEG_QUALITY, quality,
                                                          cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1]
                    want = cv2.imdecode(content, cv2.IMREAD_COLOR)
                jpeg = {'times': {'twice' if times == 2 else 'once': 1}, 'quality': [quality, quality], 'chroma_420': is_420}
                np.testing.assert_array_equal(degrade(hr, 4, strengths_of(tmp_path, jpeg=jpeg), 0), want)


def test_420_halves_colour_alone(tmp_path: Path) -> None:
    hr = np.full((128, 128, 3), 128, np.uint8)
    hr[:, ::8, 2] = hr[:, 1::8, 2] = hr[:, 2::8, 2] = hr[:, 3::8, 2] = 228  # LR columns are red and grey by turns
    contrast = []
    for share in (0, 1):
        jpeg = {'times': {'once': 1}, 'quality': [95, 95], 'chroma_420': share}
        lr = degrade(hr, 4, strengths_of(tmp_path, downscale={'kernels': {'area': 1}}, jpeg=jpeg), 0).astype(float)
        contrast.append(np.ptp(lr[..., 2] - lr[..., 1], axis=1).mean())
    assert contrast[0] > 90 and contrast[1] < 15


def test_defaults_are_mild() -> None:
    hr, strengths = natural(64, 64), load_strengths()
    clean = imresize(hr, 1 / 4)
    correlations = [np.corrcoef(degrade(hr, 4, strengths, seed).ravel(), clean.ravel())[0, 1] for seed in range(300)]
    assert min(correlations) > 0.8 and max(correlations) > 0.999


def test_shares_are_those_of_the_file(tmp_path: Path) -> None:
    hr, defaults = natural(32, 32), load_strengths()
    clean = imresize(hr, 1 / 4)
    # A tenth of the Gaussian and of the Poisson noise is too weak to change any of these few samples.
    for part, share in (('blur', 0.3), ('downscale', 0.4), ('noise', 0.46), ('jpeg', 0.15)):
        strengths = strengths_of(tmp_path).model_copy(update={part: getattr(defaults, part)})
        unchanged = np.mean([np.array_equal(degrade(hr, 4, strengths, seed), clean) for seed in range(400)])
        assert unchanged == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize('shape', [(4, 4, 3), (4, 200, 3), (8, 4)])
def test_the_smallest_images_take_all_degradations(shape: tuple[int, ...], tmp_path: Path) -> None:
    strengths = strengths_of(tmp_path, blur={'kinds': {'isotropic': 1, 'anisotropic': 1}, 'sigma': [10, 10]},
                             downscale={'kernels': {'area': 1, 'bilinear': 1, 'bicubic': 1, 'lanczos': 1}},
                             noise={'kinds': {'gaussian': 1, 'poisson': 1}}, jpeg={'times': {'twice': 1}})
    for seed in range(16):
        lr = degrade(np.full(shape, 77, np.uint8), 4, strengths, seed)
        assert lr.shape == (shape[0] // 4, shape[1] // 4, *shape[2:])
