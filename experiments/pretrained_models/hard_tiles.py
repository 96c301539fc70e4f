"""Chooses the training tiles of VapSR-S_x4.pth's second stage: those that bicubic enlarging gets most wrong.

python experiments/pretrained_models/hard_tiles.py datasets/BSDS400 datasets/BSDS400_hard

The first folder is as `vapsr data lr PHOTOGRAPHS datasets/BSDS400 --scale 4 --cut-hr` writes it; into the second go packs.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.data.pack import PackWriter
from vapsr_arch.data.subimages import positions
from vapsr_arch.files import written_whole

SCALE = 4
SIZE, STEP = 48, 24  # LR pixels
KEPT = 0.5


def main(source: Path, out: Path) -> None:
    tiles = []
    for path in sorted((source / 'HR').glob('*.png')):
        hr, lr = cv2.imread(str(path)), cv2.imread(str(source / f'X{SCALE}' / path.name))
        error = np.abs(imresize(lr, SCALE).astype(np.float32) - hr).mean(axis=2)
        for top in positions(lr.shape[0], SIZE, STEP):
            for left in positions(lr.shape[1], SIZE, STEP):
                place = np.s_[top * SCALE:(top + SIZE) * SCALE, left * SCALE:(left + SIZE) * SCALE]
                tiles.append((error[place].mean(), f'{path.stem}_{top:03d}_{left:03d}', hr[place],
                              lr[top:top + SIZE, left:left + SIZE]))
    tiles.sort(key=lambda tile: tile[0], reverse=True)
    kept = sorted(tiles[:int(KEPT * len(tiles))], key=lambda tile: tile[1])
    for name, column in (('HR.pack', 2), (f'LR_X{SCALE}.pack', 3)):
        with written_whole(out / name) as temporary, temporary.open('wb') as file:
            writer = PackWriter(file, {'made_by': 'hard_tiles.py'})
            for tile in kept:
                writer.add(tile[1], tile[column])
            writer.close()
    print(f'{len(kept)} of {len(tiles)} tiles kept')


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit('usage: python hard_tiles.py SOURCE OUT')
    main(*map(Path, sys.argv[1:]))
