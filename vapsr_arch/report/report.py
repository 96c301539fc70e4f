"""What a benchmark leaves in its folder, from what was measured."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from vapsr_arch.data.paired_dataset import to_tensor
from vapsr_arch.errors import OptionsError
from vapsr_arch.files import written_whole
from vapsr_arch.options.faults import nearest
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.benchmark_sets import BenchmarkImage
from vapsr_arch.report.comparison import Panel, Patch, draw_strip, where_they_differ
from vapsr_arch.report.page import write_page
from vapsr_arch.report.plots import draw_plots
from vapsr_arch.report.receptive_field import (
    NetworkFields,
    draw_receptive_fields,
    effective_receptive_field,
    local_attribution_map,
)
from vapsr_arch.report.runs import Run
from vapsr_arch.report.tables import markdown, table_csv

ERF_SIZE, ERF_IMAGES = 97, 8  # LR pixels of a patch's side; how many patches are averaged
LAM_SIZE, LAM_WINDOW = 96, 16  # LR pixels of the attributed part's side; the paper's window, in pixels of the output


def _rgb(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def find_image(benchmark: Benchmark, name: str) -> tuple[str, str]:
    """The set and the name of a test image, given as SET/IMAGE or, where that is clear, IMAGE.

    Raises:
        OptionsError: There is no such image, or there are several.
    """
    known = [(set_name, image) for set_name, images in benchmark.sets.items() for image in images.names]
    found = [entry for entry in known if name in ('/'.join(entry), entry[1])]
    if not found:
        raise OptionsError(f'--compare {name}: no test image is called that{nearest(name, ["/".join(k) for k in known])}')
    if len(found) > 1:
        raise OptionsError(f'--compare {name}: which of {", ".join("/".join(entry) for entry in found)}?')
    return found[0]


def crop_of(benchmark: Benchmark, set_name: str, name: str, crop: Sequence[int]) -> Patch:
    """The patch that `--crop X Y W H` asks for.

    Raises:
        OptionsError: It is not within the image.
    """
    patch = Patch(*crop)
    height, width = benchmark.sets[set_name].find(name).hr.shape[:2]
    if min(patch.x, patch.y) < 0 or min(patch.width, patch.height) < 1 \
            or patch.x + patch.width > width or patch.y + patch.height > height:
        raise OptionsError(f'--crop {" ".join(map(str, crop))} is not within {set_name}/{name}, which is {width}x{height}')
    return patch


def _layers(benchmark: Benchmark, set_name: str, image: BenchmarkImage) -> list[tuple[Run, np.ndarray]]:
    """The enlargements of a test image, bicubic first: H x W x 3, uint8, BGR."""
    return [(benchmark.runs[0], image.bicubic)] + [
        (run, cv2.imread(str(test.image_path(set_name, image.name))))
        for test, run in benchmark.finished if set_name in run.images]


def differing_patch(benchmark: Benchmark, set_name: str, name: str) -> Patch:
    """Where the networks' images differ most; a single network's, from bicubic."""
    layers = [pixels for _, pixels in _layers(benchmark, set_name, benchmark.sets[set_name].find(name))]
    return where_they_differ(layers[1:] if len(layers) > 2 else layers, benchmark.scale)


def draw_image_strip(benchmark: Benchmark, set_name: str, name: str, patch: Patch, path: Path) -> None:
    """Draws the strip of a test image: HR with the patch boxed, then bicubic and each network with the image's PSNR."""
    image = benchmark.sets[set_name].find(name)
    metric = next(iter(benchmark.metrics), None)
    unit = {'psnr': ' dB'}.get(metric, '')
    panels = [Panel(_rgb(patch.of(image.hr)), 'HR')]
    for run, pixels in _layers(benchmark, set_name, image):
        score = f'\n{run.images[set_name][name][metric]:.2f}{unit}' if metric else ''
        panels.append(Panel(_rgb(patch.of(pixels)), run.title + score))
    draw_strip(_rgb(image.hr), patch, panels, f'{set_name}: {name}, x{benchmark.scale}', path)


def _around(patch: Patch, lr: np.ndarray, scale: int) -> tuple[np.ndarray, Patch]:
    """The part of an LR image that is attributed, around a patch's centre, and the window in its enlargement."""
    (top, height), (left, width) = (
        (min(max((start + length // 2) // scale - LAM_SIZE // 2, 0), max(size - LAM_SIZE, 0)), min(size, LAM_SIZE))
        for start, length, size in ((patch.y, patch.height, lr.shape[0]), (patch.x, patch.width, lr.shape[1])))
    window = [min(max(start + (length - LAM_WINDOW) // 2 - corner * scale, 0), size * scale - LAM_WINDOW)
              for start, length, corner, size in ((patch.x, patch.width, left, width), (patch.y, patch.height, top, height))]
    return lr[top:top + height, left:left + width], Patch(*window, LAM_WINDOW, LAM_WINDOW)


def draw_fields(benchmark: Benchmark, set_name: str, name: str, patch: Patch, path: Path) -> None:
    """Draws each network's effective receptive field, and its local attribution map of the middle of a patch.

    Args:
        benchmark: What was measured; networks that failed are left out.
        set_name: The set of the image that is attributed.
        name: The image.
        patch: The patch, in HR pixels.
        path: The PNG to write.
    """
    images = [images[index].lr for images in benchmark.sets.values() for index in range(len(images))]
    side = min(ERF_SIZE, *(min(image.shape[:2]) for image in images))
    side -= 1 - side % 2  # with an odd side the centre of the output is that of the input
    tops = [[(size - side) // 2 for size in image.shape[:2]] for image in images[:ERF_IMAGES]]
    patches = [to_tensor(image[top:top + side, left:left + side], {}) for image, (top, left) in zip(images, tops)]
    lr, window = _around(patch, benchmark.sets[set_name].find(name).lr, benchmark.scale)
    fields = []
    for test, run in tqdm(benchmark.finished, 'receptive fields', unit='network'):
        network = test.build()
        fields.append(NetworkFields(run.title, effective_receptive_field(network, patches),
                                    local_attribution_map(network, to_tensor(lr, {}), window)))
    draw_receptive_fields(fields, _rgb(lr), window, benchmark.scale, path)


def write_report(benchmark: Benchmark, compare: Sequence[tuple[str, str]] = (), patch: Patch | None = None,
                 receptive_field: bool = False) -> None:
    """Writes table.md, table.csv, the plots, strips and index.html into the benchmark's folder, and prints the table.

    Args:
        benchmark: What was measured.
        compare: Test images of which to draw a strip: set and name.
        patch: What the strips show; None for where the networks differ most.
        receptive_field: Whether to draw receptive fields, with the first strip's image and patch or, without strips, those
            of the first image.
    """
    out = benchmark.out
    for name, text in (('table.md', markdown(benchmark)), ('table.csv', table_csv(benchmark))):
        with written_whole(out / name) as path:
            path.write_text(text, encoding='utf-8')
    plots = draw_plots(benchmark, out)
    pictures = []
    images = list(compare)
    if receptive_field and not images and benchmark.finished:
        set_name, images_of_set = next(iter(benchmark.sets.items()))
        images = [(set_name, images_of_set.names[0])]
    patches = [patch or differing_patch(benchmark, *image) for image in images]
    for (set_name, name), shown in zip(compare, patches):
        pictures.append(out / f'compare_{set_name}_{name}.png')
        draw_image_strip(benchmark, set_name, name, shown, pictures[-1])
    if receptive_field and benchmark.finished:
        pictures.append(out / 'receptive_fields.png')
        draw_fields(benchmark, *images[0], patches[0], pictures[-1])
    write_page(benchmark, plots, pictures, out / 'index.html')
    print(markdown(benchmark))
    print(f'Page: {(out / "index.html").resolve()}')
