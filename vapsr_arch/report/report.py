"""What a benchmark leaves in its folder, from what was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from vapsr_arch.data.paired_dataset import to_tensor
from vapsr_arch.errors import OptionsError
from vapsr_arch.files import written_whole
from vapsr_arch.options.faults import nearest
from vapsr_arch.report.benchmark import Benchmark, write_results
from vapsr_arch.report.benchmark_sets import BenchmarkImage
from vapsr_arch.report.comparison import Panel, Patch, draw_strip, where_they_differ
from vapsr_arch.report.latex import table_tex
from vapsr_arch.report.network_test import NetworkTest
from vapsr_arch.report.page import write_page
from vapsr_arch.report.plots import draw_plots
from vapsr_arch.report.receptive_field import (
    NetworkFields,
    draw_receptive_fields,
    effective_receptive_field,
    local_attribution_map,
)
from vapsr_arch.report.row import Row
from vapsr_arch.report.tables import markdown, table_csv

ERF_SIZE, ERF_IMAGES = 97, 8  # LR pixels of a patch's side; how many patches are averaged
LAM_SIZE, LAM_WINDOW = 96, 16  # LR pixels of the attributed part's side; the paper's window, in pixels of the output


def _rgb(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def find_images(benchmarks: Sequence[Benchmark], name: str) -> list['TestImage']:
    """A test image at each scale, given as SET/IMAGE or, where that is clear, IMAGE.

    Raises:
        OptionsError: There is no such image, or there are several.
    """
    known = [TestImage(benchmark, set_name, image) for benchmark in benchmarks for set_name, images in benchmark.sets.items()
             for image in images.names]
    found = [image for image in known if name in (image.name, image.full_name)]
    if not found:
        raise OptionsError(f'--compare {name}: no test image is called that{nearest(name, [i.full_name for i in known])}')
    full_names = sorted({image.full_name for image in found})
    if len(full_names) > 1:
        raise OptionsError(f'--compare {name}: which of {", ".join(full_names)}?')
    return found


class TestImage(NamedTuple):
    """An image of a set of a benchmark."""

    benchmark: Benchmark
    set_name: str
    name: str

    @property
    def full_name(self) -> str:
        return f'{self.set_name}/{self.name}'


def crop_of(image: TestImage, crop: Sequence[int]) -> Patch:
    """The patch that `--crop X Y W H` asks for.

    Raises:
        OptionsError: It is not within the image.
    """
    patch = Patch(*crop)
    height, width = image.benchmark.sets[image.set_name].find(image.name).hr.shape[:2]
    if min(patch.x, patch.y) < 0 or min(patch.width, patch.height) < 1 \
            or patch.x + patch.width > width or patch.y + patch.height > height:
        raise OptionsError(f'--crop {" ".join(map(str, crop))} is not within {image.full_name}, which is '
                           f'{width}x{height}')
    return patch


def _layers(test: TestImage, image: BenchmarkImage) -> list[tuple[Row, np.ndarray]]:
    """The upscaled images of a test image, bicubic first: H x W x 3, uint8, BGR."""
    bicubic, *rows = test.benchmark.rows
    return [(bicubic, image.bicubic)] + [(row, cv2.imread(row.files[test.set_name][test.name])) for row in rows
                                         if test.set_name in row.files]


def differing_patch(test: TestImage) -> Patch:
    """Where the networks' images differ most; a single network's, from bicubic."""
    layers = [pixels for _, pixels in _layers(test, test.benchmark.sets[test.set_name].find(test.name))]
    return where_they_differ(layers[1:] if len(layers) > 2 else layers, test.benchmark.scale)


def draw_image_strip(test: TestImage, patch: Patch, path: Path) -> None:
    """Draws the strip of a test image: HR with the patch boxed, then bicubic and each network with the image's PSNR."""
    image = test.benchmark.sets[test.set_name].find(test.name)
    metric = next(iter(test.benchmark.metrics), None)
    unit = {'psnr': ' dB'}.get(metric, '')
    panels = [Panel(_rgb(patch.of(image.hr)), 'HR')]
    for row, pixels in _layers(test, image):
        score = f'\n{row.images[test.set_name][test.name][metric]:.2f}{unit}' if metric else ''
        panels.append(Panel(_rgb(patch.of(pixels)), row.title + score))
    draw_strip(_rgb(image.hr), patch, panels, f'{test.set_name}: {test.name}, x{test.benchmark.scale}', path)


def _around(patch: Patch, lr: np.ndarray, scale: int) -> tuple[np.ndarray, Patch]:
    """The part of an LR image that is attributed, around a patch's centre, and the window in the upscaled image."""
    (top, height), (left, width) = (
        (min(max((start + length // 2) // scale - LAM_SIZE // 2, 0), max(size - LAM_SIZE, 0)), min(size, LAM_SIZE))
        for start, length, size in ((patch.y, patch.height, lr.shape[0]), (patch.x, patch.width, lr.shape[1])))
    window = [min(max(start + (length - LAM_WINDOW) // 2 - corner * scale, 0), size * scale - LAM_WINDOW)
              for start, length, corner, size in ((patch.x, patch.width, left, width), (patch.y, patch.height, top, height))]
    return lr[top:top + height, left:left + width], Patch(*window, LAM_WINDOW, LAM_WINDOW)


def draw_fields(test: TestImage, patch: Patch, path: Path) -> None:
    """Draws each network's effective receptive field, and its local attribution map of the middle of a patch.

    Args:
        test: The image that is attributed; networks without scores, and self-ensembles, are left out.
        patch: The patch, in HR pixels.
        path: The PNG to write.
    """
    benchmark = test.benchmark
    images = [images[index].lr for images in benchmark.sets.values() for index in range(len(images))]
    side = min(ERF_SIZE, *(min(image.shape[:2]) for image in images))
    side -= 1 - side % 2  # with an odd side the centre of the output is that of the input
    tops = [[(size - side) // 2 for size in image.shape[:2]] for image in images[:ERF_IMAGES]]
    patches = [to_tensor(image[top:top + side, left:left + side], {}) for image, (top, left) in zip(images, tops)]
    lr, window = _around(patch, benchmark.sets[test.set_name].find(test.name).lr, benchmark.scale)
    fields = []
    for tested, row in tqdm(_with_fields(benchmark), 'receptive fields', unit='network'):
        network = tested.build()
        fields.append(NetworkFields(row.title, effective_receptive_field(network, patches),
                                    local_attribution_map(network, to_tensor(lr, {}), window)))
    draw_receptive_fields(fields, _rgb(lr), window, benchmark.scale, path)


def _with_fields(benchmark: Benchmark) -> list[tuple[NetworkTest, Row]]:
    return [(test, row) for test, row in benchmark.networks if row.scores and not test.is_self_ensemble]


def write_report(benchmarks: Sequence[Benchmark], compare: Sequence[TestImage] = (), patch: Patch | None = None,
                 receptive_field: bool = False) -> None:
    """Writes results.json, the tables, the plots, strips and index.html into the benchmarks' folder, and prints the table.

    Args:
        benchmarks: What was measured, a benchmark a scale.
        compare: Test images of which to draw a strip.
        patch: What the strips show; None for where the networks differ most.
        receptive_field: Whether to draw receptive fields, with the first strip's image and patch or, without strips, those
            of the first image.
    """
    out = benchmarks[0].out
    write_results(benchmarks, out / 'results.json')
    for name, text in (('table.md', markdown(benchmarks)), ('table.csv', table_csv(benchmarks)),
                       ('table.tex', table_tex(benchmarks))):
        with written_whole(out / name) as path:
            path.write_text(text, encoding='utf-8')
    plots = [plot for benchmark in benchmarks for plot in draw_plots(benchmark, out)]
    figures = []
    for test in compare:
        figures.append(out / f'compare_{test.set_name}_{test.name}{test.benchmark.suffix}.png')
        draw_image_strip(test, patch or differing_patch(test), figures[-1])
    for benchmark in benchmarks if receptive_field else ():
        own = [test for test in compare if test.benchmark is benchmark]
        if _with_fields(benchmark):
            set_name, images = next(iter(benchmark.sets.items()))
            test = own[0] if own else TestImage(benchmark, set_name, images.names[0])
            figures.append(out / f'receptive_fields{benchmark.suffix}.png')
            draw_fields(test, patch or differing_patch(test), figures[-1])
    write_page(benchmarks, plots, figures, out / 'index.html')
    print(markdown(benchmarks))
    print(f'Page: {(out / "index.html").resolve()}')
