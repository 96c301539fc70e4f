"""LR images as cameras and web sites make them: blurred, downscaled by one of several kernels, noisy, compressed as JPEG."""

import functools
import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vapsr_arch.data.batch import claimed, counted, finish, inputs_of, is_done, refuse_inputs, run_batch, sources_of
from vapsr_arch.data.degrade_strengths import Blur, Jpeg, Noise, Strengths, load_strengths
from vapsr_arch.data.image_files import Header, read_header
from vapsr_arch.data.image_writing import write_png
from vapsr_arch.data.images import conversion_notes, decode, read_bytes
from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.errors import VapsrError

_PILLOW = {'bilinear': Image.Resampling.BILINEAR, 'lanczos': Image.Resampling.LANCZOS}
_TIMES = {'none': 0, 'once': 1, 'twice': 2}
_MID_GREY = 128
_NOTHING = 0.05  # pixels or levels: a sigma below changes no 8-bit sample


def _choose(weights: dict[str, float], random: np.random.Generator) -> str:
    return str(random.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))


def _between(limits: Sequence[float], fraction: float) -> float:
    return limits[0] + fraction * (limits[1] - limits[0])


def gaussian_kernel(sigma: float, aspect: float, angle: float) -> np.ndarray:
    """An anisotropic Gaussian.

    Args:
        sigma: Standard deviation along the longer axis, in pixels.
        aspect: The shorter axis over the longer one, above 0, up to 1.
        angle: From the horizontal to the longer axis, in radians.

    Returns:
        An odd number of pixels a side, out to 3 sigma; float64, of sum 1.
    """
    radius = math.ceil(3 * sigma)
    y, x = np.mgrid[-radius:radius + 1, -radius:radius + 1]
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma
    across = (y * math.cos(angle) - x * math.sin(angle)) / (sigma * aspect)
    kernel = np.exp(-(along**2 + across**2) / 2)
    return kernel / kernel.sum()


def _blur(image: np.ndarray, scale: int, blur: Blur, random: np.random.Generator) -> np.ndarray:
    kind = _choose(blur.kinds, random)
    sigma = scale * _between(blur.sigma, random.random())
    if kind == 'none' or sigma < _NOTHING:
        return image
    if kind == 'isotropic':
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    kernel = gaussian_kernel(sigma, _between(blur.aspect, random.random()), math.pi * random.random())
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)


def _downscale(image: np.ndarray, scale: int, kernel: str) -> np.ndarray:
    if kernel == 'bicubic':
        return imresize(image, 1 / scale)
    size = image.shape[1] // scale, image.shape[0] // scale
    if kernel == 'area':
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(Image.fromarray(image).resize(size, _PILLOW[kernel]))


def _add_noise(image: np.ndarray, noise: Noise, random: np.random.Generator) -> np.ndarray:
    kind = _choose(noise.kinds, random)
    sigma = _between(noise.sigma, random.random()**2)
    is_grey = random.random() < noise.grey and image.ndim == 3
    if kind == 'none' or sigma < _NOTHING:
        return image
    clean = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if is_grey else image
    if kind == 'gaussian':
        added = sigma * random.standard_normal(clean.shape, np.float32)
    else:
        photons = _MID_GREY / sigma**2  # a level: counts of variance sigma^2 levels^2 at mid-grey
        added = random.poisson(clean * photons) / photons - clean
    return np.clip(np.rint(image + added), 0, 255).astype(np.uint8)


def _through_jpeg(image: np.ndarray, jpeg: Jpeg, random: np.random.Generator) -> np.ndarray:
    for _ in range(_TIMES[_choose(jpeg.times, random)]):
        quality = round(_between(jpeg.quality, 1 - random.random()**2))
        sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if random.random() < jpeg.chroma_420
                    else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality,
                                               cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1]
        image = cv2.imdecode(content, cv2.IMREAD_COLOR if image.ndim == 3 else cv2.IMREAD_GRAYSCALE)
    return image


def degrade(hr: np.ndarray, scale: int, strengths: Strengths, seed: int) -> np.ndarray:
    """Makes an LR image: blur, downscale, noise, JPEG.

    Each of the four has random numbers of its own, so that the strengths of one do not change what the others draw.

    Args:
        hr: H x W for grey, or H x W x 3 in BGR; uint8; H and W multiples of the scale.
        scale: HR size over LR size.
        strengths: The ranges and weights to draw from.
        seed: 0 or more; everything that is drawn follows from it.

    Returns:
        H / scale x W / scale (x 3), uint8.
    """
    blur, downscale, noise, jpeg = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    image = _blur(hr, scale, strengths.blur, blur)
    image = _downscale(image, scale, _choose(strengths.downscale.kernels, downscale))
    return _through_jpeg(_add_noise(image, strengths.noise, noise), strengths.jpeg, jpeg)


def seed_of(name: str, variant: int, seed: int) -> int:
    """The seed of one LR image, from its name, its variant and the run's seed alone: whatever else is in the folder."""
    digest = hashlib.blake2b(f'{seed} {variant} {name}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big')


def _make(source: Path, outputs: dict[int, Path], since: int, scale: int, strengths: Strengths, seed: int) -> Header | None:
    """Writes the variants of one HR image, and as variant 0 the cropped HR image; its header, None if all are there."""
    outputs = {variant: Path(folder, f'{source.stem}.png') for variant, folder in outputs.items()}
    missing = {variant: path for variant, path in outputs.items() if not is_done(path, source, since)}
    if not missing:
        return None
    header = read_header(source)
    hr = mod_crop(decode(read_bytes(source), source, cv2.IMREAD_ANYCOLOR), scale)
    if 0 in hr.shape:
        raise VapsrError(f'{source} is smaller than {scale} pixels: leave it out')
    for variant, path in missing.items():
        write_png(path, degrade(hr, scale, strengths, seed_of(source.stem, variant, seed)) if variant else hr)
    return header


def make_degraded(folders: Sequence[Path], out: Path, scale: int, variants: int = 1, seed: int = 0,
                  strengths: Strengths | None = None, cut_hr: bool = False, workers: int | None = None,
                  force: bool = False) -> None:
    """Writes `out/X4_v1/NAME.png`, `out/X4_v2/NAME.png` and so on: a folder a variant, with the HR images' names.

    An image's bytes follow from the HR image, its name, the scale, the variant, the seed and the strengths alone, for the
    same versions of NumPy, OpenCV and Pillow. More variants can be added to a folder later.

    Args:
        folders: HR images: grey or colour; 16 bits are reduced to 8, with a note on stderr; alpha is left out.
        out: The output folder; finished images in it are kept.
        scale: HR size over LR size, of 2 and above.
        variants: LR images of each HR image.
        seed: Another one makes other LR images; 0 or more.
        strengths: How strong the degradations are; None for `degrade.yml`.
        cut_hr: Write the HR images, cropped to a multiple of the scale, to `out/HR`, for training on whole images.
        workers: Processes; None for one a core.
        force: Write into a folder that holds something else.

    Raises:
        VapsrError: The folders cannot be used, or some images failed: they are named, the others are done.
    """
    for name, value, least in (('--scale', scale, 2), ('--variants', variants, 1), ('--seed', seed, 0)):
        if value < least:
            raise VapsrError(f'{name} {value}: must be {least} or more')
    strengths = strengths or load_strengths()
    sources = sources_of(folders)
    recipe = {'made_by': 'vapsr data degrade', 'from': inputs_of(folders, out), 'seed': seed,
              'strengths': strengths.model_dump(), 'hr_multiple': scale if cut_hr else None}
    outputs = {variant: out / f'X{scale}_v{variant}' for variant in range(1, variants + 1)}
    if cut_hr:
        outputs[0] = out / 'HR'
    refuse_inputs(folders, outputs.values())
    with claimed(out, recipe, force) as since:
        work = functools.partial(_make, outputs=outputs, since=since, scale=scale, strengths=strengths, seed=seed)
        results = list(run_batch(work, sources, 'degraded images', workers))
    for note in conversion_notes(result for _, result in results if isinstance(result, Header)):
        print(f'{out}: {note}', file=sys.stderr)
    finish(results)
    print(f'{", ".join(map(str, outputs.values()))}: {counted(len(sources), "image")} each')
