"""How long `vapsr upscale` takes from files to files, beside what it cannot do without: `python benchmarks/bench_files.py`.

Two jobs: a photograph of 12 megapixels, and 30 images of some 0.1 megapixels each, all PNG, x4, made of photographs that
scikit-image ships. The floor of a job is the time of `import torch` in a fresh process, plus that of the network alone on its
pixels, without halos: plain calls of the engine in a process that has run it before; an image of more than 2 megapixels in
pieces. Floors and jobs are measured in turns, so that other work on the machine meets both alike. Printed are medians, and the
median of the ratios of the turns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from vapsr_arch.data.image_files import read_image
from vapsr_arch.data.image_writing import write_png
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.report.machine import describe_machine
from vapsr_arch.weights.names import DEFAULT

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'motorcycle_left', 'retina', 'rocket')
LIMITS = {'photograph': 1.35, 'small images': 1.2}
SMALL = 30, 320, 320  # how many, and their sides
PIECE = 2e6  # pixels


def photographs() -> list[np.ndarray]:
    """H x W x 3, BGR, uint8."""
    import skimage
    folder = Path(skimage.__file__).parent / 'data'
    return [cv2.imread(str(next(folder.glob(f'{name}.*')))) for name in PHOTOGRAPHS]


def mosaic(images: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """An image of a size, of images side by side."""
    result = np.empty((height, width, 3), np.uint8)
    rows, columns = -(-height // 1000), -(-width // 1000)
    for row in range(rows):
        for column in range(columns):
            target = result[row * height // rows:(row + 1) * height // rows]
            target = target[:, column * width // columns:(column + 1) * width // columns]
            target[...] = cv2.resize(images[(row * columns + column) % len(images)], target.shape[1::-1])
    return result


def make_jobs(folder: Path, megapixels: float) -> None:
    """Writes the images of each job into a folder of its name."""
    images = photographs()
    side = (megapixels * 1e6 / 12) ** 0.5
    write_png(folder / 'photograph/0.png', mosaic(images, int(3 * side), int(4 * side)))
    count, height, width = SMALL
    random = np.random.default_rng(0)
    for number in range(count):
        image = images[number % len(images)]
        top, left = (random.integers(0, max(1, size - side)) for size, side in zip(image.shape, (height, width)))
        write_png(folder / f'small images/{number:02}.png', image[top:top + height, left:left + width])


def pieces(image: np.ndarray) -> list[np.ndarray]:
    """Parts of an image, of `PIECE` pixels at most, which share no pixel."""
    rows = columns = int(np.ceil((image.shape[0] * image.shape[1] / PIECE) ** 0.5))
    return [part for row in np.array_split(image, rows) for part in np.array_split(row, columns, axis=1)]


def network_time(weights: str, paths: list[Path]) -> float:
    """Seconds that the network alone takes for some images."""
    keep_freed_memory()
    engine = load_engine(weights, device='cpu')
    taken = 0.
    for number, path in enumerate(paths):
        for part in pieces(read_image(path).pixels):
            x = torch.from_numpy(np.divide(part, 255, dtype=np.float32)).permute(2, 0, 1)[None]
            if not number and not taken:
                engine(x)  # the warm-up
            start = time.perf_counter()
            engine(x)
            taken += time.perf_counter() - start
    return taken


def timed(*arguments: str) -> tuple[float, str]:
    """Seconds that Python takes in a fresh process, and what it prints."""
    start = time.perf_counter()
    child = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    taken = time.perf_counter() - start
    if child.returncode:
        sys.exit(f'{" ".join(arguments)} failed:\n{child.stderr}')
    return taken, child.stdout


def measure(job: str, folder: Path, arguments: argparse.Namespace) -> bool:
    """Prints the row of a job; returns whether its ratio is within its limit."""
    starts, networks, commands = [], [], []
    for _ in range(arguments.rounds):
        starts.append(timed('-c', 'import torch')[0])
        networks.append(float(timed(__file__, '--network-time', arguments.weights, str(folder / job))[1]))
        commands.append(timed('-m', 'vapsr_arch', 'upscale', str(folder / job), '-o', str(folder / 'out'), '--force', '--device',
                              'cpu', '--weights', arguments.weights)[0])
    ratios = [command / (start + network) for command, start, network in zip(commands, starts, networks)]
    print(f'{job:<14}{median(starts):>14.2f}{median(networks):>10.2f}{median(commands):>15.2f}{median(ratios):>8.2f}'
          f'{LIMITS[job]:>8}{min(ratios):>9.2f} to {max(ratios):.2f}', flush=True)
    return median(ratios) <= LIMITS[job]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--weights', default=DEFAULT, help='a name or a file, x4')
    parser.add_argument('--jobs', nargs='+', choices=LIMITS, default=list(LIMITS))
    parser.add_argument('--rounds', type=int, default=3, help='turns')
    parser.add_argument('--megapixels', type=float, default=12, help='of the photograph')
    parser.add_argument('--network-time', nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network_time:
        weights, folder = arguments.network_time
        print(network_time(weights, sorted(Path(folder).iterdir())))
        return
    machine = describe_machine('cpu')
    print(f'{machine["device"]}, {machine["threads"]} threads; Python {machine["python"]}, torch {machine["torch"]}; '
          f'{Path(arguments.weights).stem}, {arguments.rounds} turns; seconds')
    print(f'{"job":<14}{"import torch":>14}{"network":>10}{"vapsr upscale":>15}{"ratio":>8}{"limit":>8}{"ratios":>17}')
    with tempfile.TemporaryDirectory() as folder:
        make_jobs(Path(folder), arguments.megapixels)
        within = [measure(job, Path(folder), arguments) for job in arguments.jobs]
    sys.exit(not all(within))


if __name__ == '__main__':
    main()
