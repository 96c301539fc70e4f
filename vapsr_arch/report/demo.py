"""The data and the report of `make demo`, from the photographs that scikit-image ships (free licences).

`python -m vapsr_arch.report.demo data` writes datasets/demo, `python -m vapsr_arch.report.demo report` reads results/.
"""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np

from vapsr_arch.data.matlab_resize import imresize, mod_crop
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.options.reading import load_options

SCALE = 4
ROOT = Path('datasets/demo')
TEST_OPTIONS = Path('options/demo/test_VapSR-S_x4.yml')
FIGURE = Path('results/demo.png')
TEST_PHOTOGRAPHS = {  # each with the centre of the crop that the figure shows: row and column of the HR image
    'astronaut': (104, 232),
    'chelsea': (128, 176),
    'coffee': (128, 300),
    'motorcycle_left': (300, 400),
}
TRAIN_PHOTOGRAPHS = ('brick', 'coins', 'grass', 'gravel', 'hubble_deep_field', 'retina', 'rocket')
CROP = 160  # HR pixels


def make_data() -> None:
    """Writes HR and LR images, a set for testing and one for training that share no photograph."""
    import skimage
    sources = {path.stem: path for path in Path(skimage.__file__).parent.joinpath('data').iterdir()
               if path.suffix in ('.png', '.jpg')}
    for part, names in (('test', TEST_PHOTOGRAPHS), ('train', TRAIN_PHOTOGRAPHS)):
        for name in names:
            image = mod_crop(cv2.imread(str(sources[name]), cv2.IMREAD_COLOR), SCALE)
            for folder, pixels in (('HR', image), (f'LR_bicubic/X{SCALE}', imresize(image, 1 / SCALE))):
                with written_whole(ROOT / part / folder / f'{name}.png') as temporary:
                    cv2.imwrite(str(temporary), pixels)
    print(f'{ROOT}: {len(TEST_PHOTOGRAPHS)} photographs for testing, {len(TRAIN_PHOTOGRAPHS)} others for training')


def _crop(image: np.ndarray, centre: tuple[int, int], scale: int) -> np.ndarray:
    """The crop around a centre in HR pixels, of an image that is 1 / scale of the HR image; RGB."""
    side = CROP // scale
    top, left = (min(max(c // scale - side // 2, 0), size - side) for c, size in zip(centre, image.shape[:2]))
    return cv2.cvtColor(image[top:top + side, left:left + side], cv2.COLOR_BGR2RGB)


def report() -> None:
    """Prints PSNR and SSIM of bicubic and VapSR-S on the test photographs, and draws LR, bicubic, VapSR-S and HR.

    Raises:
        VapsrError: The test has not been run.
    """
    from vapsr_arch.pipeline.registration import register
    register()
    from basicsr.metrics import calculate_metric

    from vapsr_arch.report.comparison import Panel, draw_comparison
    options = load_options(TEST_OPTIONS, is_train=False)
    results = Path('results', options['name'])
    dataset, = (dataset['name'] for dataset in options['datasets'].values())
    if not (results / f'{dataset}.csv').is_file():
        raise VapsrError(f'{results} has no results: run `vapsr test -opt {TEST_OPTIONS}` first')
    with open(results / f'{dataset}.csv', newline='') as file:
        measured = {row['image']: row for row in csv.DictReader(file)}
    table, rows = [], []
    for name, centre in TEST_PHOTOGRAPHS.items():
        files = [ROOT / 'test/HR' / f'{name}.png', ROOT / f'test/LR_bicubic/X{SCALE}' / f'{name}.png',
                 results / 'visualization' / dataset / f'{name}_{options["name"]}.png']
        hr, lr, sr = (cv2.imread(str(file)) for file in files)
        bicubic = imresize(lr, SCALE)
        scores = [calculate_metric({'img': bicubic, 'img2': hr}, options['val']['metrics'][metric])
                  for metric in ('psnr', 'ssim')]
        scores += [float(measured[name][metric]) for metric in ('psnr', 'ssim')]
        table.append((name, *scores))
        rows.append([Panel(_crop(lr, centre, SCALE), 'LR'), Panel(_crop(bicubic, centre, 1), f'bicubic, {scores[0]:.2f} dB'),
                     Panel(_crop(sr, centre, 1), f'VapSR-S, {scores[2]:.2f} dB'), Panel(_crop(hr, centre, 1), 'HR')])
    draw_comparison(rows, FIGURE)

    means = np.mean([scores for _, *scores in table], axis=0)
    print(f'\nx{SCALE}, PSNR (dB) and SSIM on Y  {"bicubic":>16}  {"VapSR-S":>16}')
    for name, *scores in (*table, ('mean', *means)):
        print('{:27}  {:8.2f}  {:.4f}  {:8.2f}  {:.4f}'.format(name, *scores))
    print(f'\nFigure: {FIGURE.resolve()}')


if __name__ == '__main__':
    commands = {'data': make_data, 'report': report}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit('usage: python -m vapsr_arch.report.demo data | report')
    try:
        commands[sys.argv[1]]()
    except VapsrError as error:
        sys.exit(f'Error: {error}')
