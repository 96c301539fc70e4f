"""What tiles change in an image: `python benchmarks/bench_tiles.py [PHOTOGRAPH...]`.

Each image is upscaled in tiles with halos of several widths and with the full halo, which is as if there were no tiles.
Printed are the share of pixels with a channel that differs, and by how many grey levels at most. The images are those given
and B100's HR images, where VAPSR_REFERENCE, by default ../shared, has them. Networks whose output pixels depend on the whole
image, IMDN, RFDN, BSRN and BSRN-S, have no full halo and are no choice here.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vapsr_arch.data.image_files import read_image
from vapsr_arch.inference.upscaler import AUTO_HALO, Upscaler
from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.weights.names import DEFAULT

REFERENCE = Path(os.environ.get('VAPSR_REFERENCE', Path(__file__).parents[2] / 'shared'))


def measure(weights: str, title: str, images: Iterable[Path], tile: int, halos: list[int]) -> None:
    """Prints a row for each halo."""
    whole = Upscaler(weights, tile=tile, halo='full')
    contestants = [Upscaler(weights, tile=tile, halo=halo) for halo in halos]
    pixels, differing, worst = 0, [0] * len(halos), [0] * len(halos)
    for path in images:
        image = read_image(path).pixels[..., :3]
        expected = whole(image)
        pixels += expected.shape[0] * expected.shape[1]
        for i, upscale in enumerate(contestants):
            difference = np.abs(np.subtract(upscale(image), expected, dtype=np.int16)).max(axis=2)
            differing[i] += np.count_nonzero(difference)
            worst[i] = max(worst[i], int(difference.max()))
    for halo, count, levels in zip(halos, differing, worst):
        print(f'{Path(weights).stem:<12}{title:<24}{tile:>6}{halo:>6}{pixels / 1e6:>12.1f}'
              f'{count / pixels * 1e4:>16.3f}{levels:>8}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('photographs', nargs='*', type=Path)
    parser.add_argument('--weights', nargs='+', default=[DEFAULT], help='names or files')
    parser.add_argument('--tile', type=int, default=192)
    parser.add_argument('--halo', nargs='+', type=int, default=[AUTO_HALO // 2, AUTO_HALO])
    arguments = parser.parse_args()
    keep_freed_memory()
    sets = {path.name: [path] for path in arguments.photographs}
    if b100 := sorted((REFERENCE / 'data/B100/HR').glob('*.png')):
        sets['B100'] = b100
    if not sets:
        sys.exit(f'there is no image: name one, or put B100 into {REFERENCE}/data/B100/HR')
    print(f'{"weights":<12}{"images":<24}{"tile":>6}{"halo":>6}{"Mpixels":>12}{"differ, 1e-4":>16}{"levels":>8}')
    for weights in arguments.weights:
        for title, images in sets.items():
            measure(weights, title, images, arguments.tile, arguments.halo)


if __name__ == '__main__':
    main()
