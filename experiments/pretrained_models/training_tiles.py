"""Makes the packs that the weights here are trained on: tiles of photographs and screenshots, and drawn graphics beside them.

python experiments/pretrained_models/training_tiles.py OUT --scale 4 --photographs DIR --graphics DIR ... [--screenshots DIR]
                                                       [--lr NAME ...]

Each DIR is as `vapsr data lr IMAGES DIR --scale 2 3 4 --cut-hr` writes it: HR, X2, X3, X4. Of the overlapping tiles of
photographs and of screenshots the half is kept that bicubic upscaling gets most wrong. `--lr` names other folders of LR
images than X4 within each DIR, such as those that `vapsr data degrade` writes; tiles of all of them are taken. Writes
OUT/HR.pack and OUT/LR_X4.pack.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.data.pack import PackWriter
from vapsr_arch.data.subimages import positions
from vapsr_arch.files import written_whole

SIZE, STEP = 192, 96  # HR pixels: multiples of 2, 3 and 4
KEPT = 0.5  # of the tiles of photographs and of screenshots


class Tile(NamedTuple):
    name: str
    hr: np.ndarray
    lrs: list[np.ndarray]
    error: float


def tiles_of(folder: Path, scale: int, lr_names: list[str]) -> Iterator[Tile]:
    """The overlapping tiles of a folder's images, with the error of bicubic upscaling."""
    for path in sorted((folder / 'HR').glob('*.png')):
        hr = cv2.imread(str(path))
        clean = cv2.imread(str(folder / f'X{scale}' / path.name))
        error = np.abs(imresize(clean, scale).astype(np.float32) - hr).mean(axis=2)
        lrs = [cv2.imread(str(folder / name / path.name)) for name in lr_names]
        for top in positions(hr.shape[0], SIZE, STEP):
            for left in positions(hr.shape[1], SIZE, STEP):
                place = np.s_[top:top + SIZE, left:left + SIZE]
                lr_place = np.s_[top // scale:(top + SIZE) // scale, left // scale:(left + SIZE) // scale]
                yield Tile(f'{folder.name}_{path.stem}_{top:04d}_{left:04d}', hr[place].copy(),
                           [lr[lr_place].copy() for lr in lrs], float(error[place].mean()))


def hard_tiles_of(folder: Path, scale: int, lr_names: list[str]) -> list[Tile]:
    tiles = sorted(tiles_of(folder, scale, lr_names), key=lambda tile: tile.error, reverse=True)
    return tiles[:int(KEPT * len(tiles))]


def main(out: Path, scale: int, photographs: Path, graphics: list[Path], screenshots: Path | None, lr_names: list[str]) -> None:
    tiles = hard_tiles_of(photographs, scale, lr_names)
    print(f'photographs: {len(tiles)} tiles')
    for folder in graphics:
        tiles += tiles_of(folder, scale, lr_names)
    if screenshots:
        tiles += hard_tiles_of(screenshots, scale, lr_names)
    print(f'in all: {len(tiles)} tiles, {len(lr_names)} LR images each')
    tiles.sort(key=lambda tile: tile.name)
    names = [(tile, number) for tile in tiles for number in range(len(lr_names))]
    for name, image in (('HR.pack', lambda tile, number: tile.hr), (f'LR_X{scale}.pack', lambda tile, number: tile.lrs[number])):
        with written_whole(out / name) as temporary, temporary.open('wb') as file:
            writer = PackWriter(file, {'made_by': 'training_tiles.py', 'lr': lr_names})
            for tile, number in names:
                writer.add(f'{tile.name}_{number}', image(tile, number))
            writer.close()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path)
    parser.add_argument('--scale', type=int, required=True)
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--graphics', type=Path, nargs='+', required=True)
    parser.add_argument('--screenshots', type=Path)
    parser.add_argument('--lr', nargs='+')
    given = parser.parse_args()
    main(given.out, given.scale, given.photographs, given.graphics, given.screenshots, given.lr or [f'X{given.scale}'])
