"""What a benchmark leaves in its folder, from what was measured."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vapsr_arch.errors import OptionsError
from vapsr_arch.files import written_whole
from vapsr_arch.options import nearest
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.comparison import Panel, Patch, draw_strip, where_they_differ
from vapsr_arch.report.page import write_page
from vapsr_arch.report.plots import draw_plots
from vapsr_arch.report.tables import markdown, table_csv


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


def draw_image_strip(benchmark: Benchmark, set_name: str, name: str, patch: Patch | None, path: Path) -> Patch:
    """Draws the strip of a test image: HR with the patch boxed, then bicubic and each network with the image's PSNR.

    Returns:
        The patch that was drawn: the given one, or where the networks differ most.
    """
    image = benchmark.sets[set_name].find(name)
    layers = [('bicubic', image.bicubic, benchmark.runs[0])]
    layers += [(run.title, cv2.imread(str(test.image_path(set_name, name))), run)
               for test, run in benchmark.finished if set_name in run.images]
    compared = layers[1:] if len(layers) > 2 else layers
    patch = patch or where_they_differ([pixels for _, pixels, _ in compared], benchmark.scale)
    metric = next(iter(benchmark.metrics), None)
    unit = {'psnr': ' dB'}.get(metric, '')
    panels = [Panel(_rgb(patch.of(image.hr)), 'HR')]
    panels += [Panel(_rgb(patch.of(pixels)), f'{title}\n{run.images[set_name][name][metric]:.2f}{unit}' if metric else title)
               for title, pixels, run in layers]
    draw_strip(_rgb(image.hr), patch, panels, f'{set_name}: {name}, x{benchmark.scale}', path)
    return patch


def write_report(benchmark: Benchmark, compare: Sequence[tuple[str, str]] = (), patch: Patch | None = None) -> None:
    """Writes table.md, table.csv, the plots, strips and index.html into the benchmark's folder, and prints the table.

    Args:
        benchmark: What was measured.
        compare: Test images of which to draw a strip: set and name.
        patch: What the strips show; None for where the networks differ most.
    """
    out = benchmark.out
    for name, text in (('table.md', markdown(benchmark)), ('table.csv', table_csv(benchmark))):
        with written_whole(out / name) as path:
            path.write_text(text, encoding='utf-8')
    plots = draw_plots(benchmark, out)
    strips = []
    for set_name, name in compare:
        strips.append(out / f'compare_{set_name}_{name}.png')
        draw_image_strip(benchmark, set_name, name, patch, strips[-1])
    write_page(benchmark, plots, strips, out / 'index.html')
    print(markdown(benchmark))
    print(f'Page: {(out / "index.html").resolve()}')
