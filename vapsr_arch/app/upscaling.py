"""One uploaded image upscaled: the PNG to download, the two images of the slider, or a sentence that says what is wrong."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vapsr_arch.data.image_canvas import pixels_on_disk
from vapsr_arch.data.image_files import ImageData, read_header
from vapsr_arch.data.image_writing import check_fits, write_image
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference.batch import read_to_upscale
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.memory import is_out_of_memory

_SHOWN = 2048  # pixels of either side that the slider shows at most: more would not be sent to a phone


class Upscaled(NamedTuple):
    """An upscaled image.

    Attributes:
        result: The PNG to download.
        before: The image for the left of the slider: upscaled by bicubic interpolation. A PNG of 8 bits.
        after: That for the right, of the same size.
        facts: What was done, in a line.
    """

    result: Path
    before: Path
    after: Path
    facts: str


def upscale_upload(image: Path, weights: str, upscaler: Upscaler, folder: Path, max_megapixels: float,
                   progress: Callable[[float], None]) -> Upscaled:
    """Upscales an image file.

    Args:
        image: The file, whose name is shown.
        weights: What the weights are called.
        upscaler: What upscales with them.
        folder: Where files are written; it is there.
        max_megapixels: The size from which on an image is refused, before it is decoded.
        progress: Is called after each tile with the share that is done, 0 to 1; what it raises ends the work.

    Raises:
        VapsrError: The file is no image that can be read, is too large, or memory does not suffice.
    """
    header = read_header(image)
    megapixels = header.height * header.width / 1e6
    if megapixels > max_megapixels:
        raise VapsrError(f'{image}: {header.width}x{header.height} pixels are {megapixels:.3g} megapixels, and at most '
                         f'{max_megapixels:g} are taken here: make it smaller, or use the command vapsr upscale')
    scale = upscaler.scale
    original, on_disk = read_to_upscale(image, 'png', scale)
    height, width, channels = original.pixels.shape
    shape = scale * height, scale * width, channels
    check_fits('png', *shape[:2], original)
    result = _free(folder / f'{image.stem}_x{scale}.png')
    before, after = (folder / f'.{result.stem}.{which}.png' for which in ('before', 'after'))
    middle, part = _middle(height, width, max(1, _SHOWN // scale))
    write_image(before, 'png', _to_show(original, imresize(_eight_bits(original.pixels[middle]), scale)))
    with pixels_on_disk(folder, shape, original.pixels.dtype) if on_disk else nullcontext() as canvas:
        upscaled = upscaler(original.pixels, progress, canvas)
        same_part = tuple(slice(side.start * scale, side.stop * scale) for side in middle)
        write_image(after, 'png', _to_show(original, _eight_bits(upscaled[same_part])))
        write_image(result, 'png', original._replace(pixels=upscaled))
    facts = (f'{image.name}: {width}x{height} to {shape[1]}x{shape[0]} pixels with {weights}{part}'
             + ''.join(f'; {note}' for note in original.notes))
    return Upscaled(result, before, after, facts)


def sentence(error: Exception, image: Path) -> str:
    """What to say of an image that failed: a sentence with its name, and without the folder that it was uploaded to."""
    if isinstance(error, VapsrError):
        text = str(error)
    elif is_out_of_memory(error):
        text = 'there is not enough memory'
    elif isinstance(error, OSError):
        text = error.strerror or str(error)
    else:
        reason = str(error).partition('\n')[0]
        text = f'{type(error).__name__}: {reason}; please report it'
    text = text.replace(str(image), image.name)
    return text if image.name in text else f'{image.name}: {text}'


def _free(path: Path) -> Path:
    """A path that no file has: itself, or with a number."""
    others = (path.with_stem(f'{path.stem}_{number}') for number in itertools.count(2))
    return next(free for free in itertools.chain([path], others) if not free.exists())


def _middle(height: int, width: int, side: int) -> tuple[tuple[slice, slice], str]:
    """The middle of an image, at most `side` pixels a side, and a note that it is the middle; empty if it is the whole image."""
    rows, columns = (slice(start := max(0, size - side) // 2, start + min(size, side)) for size in (height, width))
    part = '; the slider shows its middle' if max(height, width) > side else ''
    return (rows, columns), part


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _to_show(original: ImageData, pixels: np.ndarray) -> ImageData:
    return ImageData(np.ascontiguousarray(pixels), icc=original.icc)
