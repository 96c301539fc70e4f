"""What the shipped weights are worth, as Markdown tables: `python benchmarks/bench_weights.py [--weights FILE...] [--quick]`.

A table a scale, with bicubic and, where VAPSR_REFERENCE, by default ../shared, has them, the authors' weights beside the files
of `experiments/pretrained_models/VapSR-S_x*.pth`. All is measured on 8-bit images. Rows:

- Colours: 64x64 pixels of one colour, of the 125 on a 5x5x5 grid and the 216 of the web. In the middle half of the result, the
  largest difference of a channel's mean from the colour, and the largest standard deviation of a channel.
- Gradients: 64x32 pixels from one corner of the colour cube to another, for each of the 56 ordered pairs, along the rows and
  along the columns. In the middle half of the result, the largest error: the difference from the value that the straight line
  has where bicubic upscaling puts an HR pixel, (i + 0.5) / scale - 0.5 in LR pixels.
- Set5, Set14, B100: PSNR and SSIM on the Y channel, `scale` pixels of border left out; B100's LR images by
  `data.matlab_resize`.
- B100 through JPEG: the same LR images, through JPEG of quality 40 with 4:2:0.
- Block steps: B100's img_024 through JPEG of quality 30 with 4:2:0, upscaled. On luma, the mean absolute difference of pixels
  on both sides of a block border (every 8 * scale pixels), over that of all other neighbours, horizontal and vertical together.
- Screenshots: graph and windows of GB82-SC, which are not trained on, cut to a multiple of the scale, LR by
  `data.matlab_resize`: PSNR on the Y channel.
"""

import argparse
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from vapsr_arch.basicsr_imports import make_basicsr_importable
from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.memory import keep_freed_memory

make_basicsr_importable()
from basicsr.metrics import calculate_psnr, calculate_ssim  # noqa: E402

ROOT = Path(__file__).parents[1]
REFERENCE = Path(os.environ.get('VAPSR_REFERENCE', ROOT.parent / 'shared'))
SHIPPED = ROOT / 'experiments/pretrained_models'
AUTHORS = {2: 'VapSR_X2', 3: 'VapSR_X3', 4: 'VapSR-S'}
SIDE = 64
CORNERS = list(itertools.product((0, 255), repeat=3))
SCREENSHOTS = ('graph', 'windows')
STEPS_OF = 'img_024'

Upscale = Callable[[np.ndarray], np.ndarray]


class Contestant(NamedTuple):
    """A column: what it is called, its scale, and what upscales H x W x 3, uint8, RGB."""

    title: str
    scale: int
    upscale: Upscale


def colours() -> list[tuple[int, ...]]:
    """The 125 colours of a 5x5x5 grid over the cube, and the 216 of the web."""
    grid, web = (0, 64, 128, 191, 255), range(0, 256, 51)
    return list(dict.fromkeys([*itertools.product(grid, repeat=3), *itertools.product(web, repeat=3)]))


def colour_errors(upscale: Upscale, flat: Sequence[tuple[int, ...]]) -> tuple[float, float]:
    """The largest shift of a flat colour's mean in grey levels, and the largest deviation within one."""
    shift = deviation = 0.0
    for colour in flat:
        middle = _middle(upscale(np.full((SIDE, SIDE, 3), colour, np.uint8)))
        shift = max(shift, float(np.abs(middle.mean((0, 1)) - colour).max()))
        deviation = max(deviation, float(middle.std((0, 1)).max()))
    return shift, deviation


def gradient_error(upscale: Upscale, scale: int) -> float:
    """The largest error in gradients between corners of the colour cube, in grey levels."""
    worst = 0.0
    for first, last in itertools.permutations(np.array(CORNERS, float), 2):
        def line(positions: np.ndarray, first: np.ndarray = first, last: np.ndarray = last) -> np.ndarray:
            return first + (last - first) * positions[:, None] / (SIDE - 1)
        lr = np.tile(line(np.arange(SIDE)).round().astype(np.uint8), (SIDE // 2, 1, 1))
        hr = np.tile(line((np.arange(SIDE * scale) + 0.5) / scale - 0.5), (SIDE // 2 * scale, 1, 1))
        for image, ideal in ((lr, hr), (lr.swapaxes(0, 1), hr.swapaxes(0, 1))):
            difference = _middle(upscale(np.ascontiguousarray(image))) - _middle(ideal)
            worst = max(worst, float(np.abs(difference).max()))
    return worst


def _middle(image: np.ndarray) -> np.ndarray:
    """The half of each side that is in the middle."""
    height, width = image.shape[:2]
    return image[height // 4:height - height // 4, width // 4:width - width // 4].astype(float)


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """H x W x 3, uint8, RGB, as a JPEG with 4:2:0 gives it back."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'jpeg', quality=quality, subsampling='4:2:0')
    return np.asarray(Image.open(file))


def block_step_ratio(image: np.ndarray, period: int) -> float:
    """The mean step across block borders, over the mean step elsewhere; see the module's text."""
    luma = image @ np.array([0.299, 0.587, 0.114])
    across, elsewhere = [], []
    for steps in (np.abs(np.diff(luma, axis=0)), np.abs(np.diff(luma, axis=1)).T):
        is_border = np.arange(1, len(steps) + 1) % period == 0
        across.append(steps[is_border].ravel())
        elsewhere.append(steps[~is_border].ravel())
    return float(np.concatenate(across).mean() / np.concatenate(elsewhere).mean())


def read(path: Path) -> np.ndarray:
    """An image file as H x W x 3, uint8, RGB."""
    return np.asarray(Image.open(path).convert('RGB'))


def pairs(name: str, scale: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A set's images: LR and HR."""
    for path in sorted((REFERENCE / f'data/{name}/HR').glob('*.png')):
        hr = mod_crop(read(path), scale)
        made = REFERENCE / f'data/{name}/LR_bicubic/X{scale}/{path.name}'
        yield (read(made) if made.is_file() else imresize(hr, 1 / scale)), hr


def psnr_ssim(upscale: Upscale, images: Iterator[tuple[np.ndarray, np.ndarray]], scale: int) -> tuple[float, float]:
    """The means over a set."""
    scores = []
    for lr, hr in images:
        image = upscale(lr)
        scores.append([metric(image[..., ::-1], hr[..., ::-1], crop_border=scale, test_y_channel=True)
                       for metric in (calculate_psnr, calculate_ssim)])
    psnr, ssim = np.mean(scores, 0)
    return float(psnr), float(ssim)


def rows_of(contestant: Contestant, quick: bool) -> Iterator[tuple[str, str]]:
    """What is measured, and the figures; rows whose images are not there are left out."""
    _, scale, upscale = contestant
    shift, deviation = colour_errors(upscale, colours())
    yield 'Colours: largest shift', f'{shift:.2f}'
    yield 'Colours: largest deviation', f'{deviation:.2f}'
    yield 'Gradients: largest error', f'{gradient_error(upscale, scale):.2f}'
    for name in ('Set5',) if quick else ('Set5', 'Set14', 'B100'):
        if (REFERENCE / f'data/{name}/HR').is_dir():
            yield name, '{:.2f} / {:.4f}'.format(*psnr_ssim(upscale, pairs(name, scale), scale))
    if quick:
        return
    if (REFERENCE / 'data/B100/HR').is_dir():
        images = ((through_jpeg(lr, 40), hr) for lr, hr in pairs('B100', scale))
        yield 'B100, LR through JPEG 40', '{:.2f} / {:.4f}'.format(*psnr_ssim(upscale, images, scale))
        photograph = through_jpeg(read(REFERENCE / f'data/B100/HR/{STEPS_OF}.png'), 30)
        yield 'Block step ratio, JPEG 30', f'{block_step_ratio(upscale(photograph), 8 * scale):.2f}'
    for name in SCREENSHOTS:
        path = REFERENCE / f'data/photos/GB82-SC/{name}.webp'
        if path.is_file():
            hr = mod_crop(read(path), scale)
            images = iter([(imresize(hr, 1 / scale), hr)])
            yield f'Screenshot {name}', '{:.2f} / {:.4f}'.format(*psnr_ssim(upscale, images, scale))


def contestants_of(weights: list[Path]) -> dict[int, list[Contestant]]:
    """The columns by scale: bicubic, the weights, the authors'."""
    by_scale: dict[int, list[Contestant]] = {}
    for path in weights:
        upscaler = Upscaler(path, device='cpu')
        bicubic = Contestant('bicubic', upscaler.scale, lambda lr, scale=upscaler.scale: imresize(lr, scale))
        by_scale.setdefault(upscaler.scale, [bicubic]).append(Contestant(path.stem, upscaler.scale, upscaler))
    for scale, columns in by_scale.items():
        path = REFERENCE / f'weights/{AUTHORS.get(scale)}.pth'
        if path.is_file():
            columns.append(Contestant(f"the authors' {path.stem}", scale, Upscaler(path, device='cpu')))
    return dict(sorted(by_scale.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--weights', nargs='+', type=Path, help='files, in place of all that are shipped')
    parser.add_argument('--quick', action='store_true', help='colours, gradients and Set5 alone')
    arguments = parser.parse_args()
    keep_freed_memory()
    weights = arguments.weights or sorted(SHIPPED.glob('VapSR-S_x*.pth'))
    if not weights:
        sys.exit(f'there are no weights VapSR-S_x*.pth in {SHIPPED}')
    for scale, columns in contestants_of(weights).items():
        table = {column.title: dict(rows_of(column, arguments.quick)) for column in tqdm(columns, f'x{scale}', file=sys.stderr)}
        print(f'\n| x{scale} | {" | ".join(table)} |\n|---|{"---|" * len(table)}')
        for row in next(iter(table.values())):
            print(f'| {row} | {" | ".join(column[row] for column in table.values())} |', flush=True)


if __name__ == '__main__':
    main()
