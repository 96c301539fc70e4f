"""The page of a benchmark: one HTML file with its table, plots and pictures inside, which opens without a network."""

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

import cv2
import numpy as np
from PIL import Image

from vapsr_arch.files import written_whole
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.tables import NOTES, Cell, columns, comparisons, conditions, rows

IMAGES_PER_SET = 4
WEBP_QUALITY = 95


def _data_uri(image: np.ndarray) -> str:
    """An image, H x W x 3, uint8, BGR, as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).save(buffer, 'webp', quality=WEBP_QUALITY, method=4)
    return 'data:image/webp;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _row(cells: Sequence[Cell]) -> str:
    return '<tr>' + ''.join(f'<td data-value="{html.escape("" if cell.value is None else str(cell.value))}">'
                            f'{html.escape(cell.text)}</td>' for cell in cells) + '</tr>'


def _table(headings: Sequence[str], body: Sequence[str]) -> str:
    head = ''.join(f'<th><button type="button">{html.escape(heading)}</button></th>' for heading in headings)
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _main_table(benchmark: Benchmark) -> str:
    headings = columns(benchmark)
    body = [f'<tr class="failed"><td data-value="{html.escape(run.title)}">{html.escape(run.title)}</td>'
            f'<td colspan="{len(headings) - 1}">failed: {html.escape(run.failure)}</td></tr>' if run.failure else _row(cells)
            for run, cells in rows(benchmark)]
    return _table(headings, body)


def _published_table(benchmark: Benchmark) -> str:
    body = []
    for row in comparisons(benchmark):
        psnr, ssim = row.differences
        body.append(_row([
            Cell(row.title, row.title), Cell(row.set_name, row.set_name),
            Cell(f'{row.measured["psnr"]:.2f} / {row.measured["ssim"]:.4f}', row.measured['psnr']),
            Cell('{:.2f} / {:.4f}'.format(*row.published), row.published[0]),
            Cell(f'{psnr:+.2f} / {ssim:+.4f}', psnr), Cell(row.source, row.source)]))
    if not body:
        return ''
    return '<h2>Beside what the authors published</h2>' + _table(
        ['network', 'set', 'measured', 'published', 'difference', 'source'], body)


def _chosen(benchmark: Benchmark, set_name: str) -> list[str]:
    """The images of a set on which the networks' first metric differs most."""
    tables = [run.images[set_name] for _, run in benchmark.finished if set_name in run.images]
    metric = next(iter(benchmark.metrics), None)
    if not tables or metric is None:
        return []
    spread = {name: np.ptp([table[name][metric] for table in tables]) for name in tables[0]}
    return sorted(sorted(spread, key=spread.__getitem__, reverse=True)[:IMAGES_PER_SET])


def _pictures(benchmark: Benchmark) -> list[dict]:
    """What the slider shows: for each image its layers, each with its scores and its pixels."""
    pictures = []
    for set_name, images in benchmark.sets.items():
        for name in _chosen(benchmark, set_name):
            image = images.find(name)
            layers = [('HR', image.hr, None), ('bicubic', image.bicubic, benchmark.runs[0].images[set_name][name])]
            layers += [(run.title, cv2.imread(str(test.image_path(set_name, name))), run.images[set_name][name])
                       for test, run in benchmark.finished if set_name in run.images]
            pictures.append({
                'title': f'{set_name}: {name}', 'width': image.hr.shape[1], 'height': image.hr.shape[0],
                'layers': [{'title': title, 'pixels': _data_uri(pixels),
                            'scores': ', '.join(f'{metric} {value:.4g}' for metric, value in (scores or {}).items())}
                           for title, pixels, scores in layers]})
    return pictures


def _inline_svg(path: Path) -> str:
    """An SVG for use within a page: without its XML header, and with ids of its own."""
    svg = path.read_text(encoding='utf-8')
    svg = svg[svg.index('<svg'):]
    prefix = path.stem + '-'
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(xlink:href="#|url\(#)', rf'\g<1>{prefix}', svg)


def write_page(benchmark: Benchmark, plots: Sequence[Path], strips: Sequence[Path], path: Path) -> None:
    """Writes the page.

    Args:
        benchmark: The benchmark.
        plots: Plots without suffix, of which there is an SVG.
        strips: Strips and other pictures: PNG files.
        path: The HTML file.
    """
    pictures = _pictures(benchmark)
    strip_tags = ''.join(f'<img class="strip" alt="{html.escape(strip.stem)}" src="data:image/png;base64,'
                         f'{base64.b64encode(strip.read_bytes()).decode()}">' for strip in strips)
    page = Template(Path(__file__).with_suffix('.html').read_text(encoding='utf-8')).substitute(
        title=f'Super-resolution x{benchmark.scale}',
        conditions=html.escape(conditions(benchmark)),
        notes=' '.join(html.escape(note) for note in NOTES),
        table=_main_table(benchmark), published=_published_table(benchmark),
        plots=''.join(f'<figure>{_inline_svg(plot.with_suffix(".svg"))}</figure>' for plot in plots),
        strips=f'<h2>Pictures</h2>{strip_tags}' if strips else '',
        slider_hidden='' if pictures else 'hidden',
        slider_note=f'Of each set the {IMAGES_PER_SET} images on which the networks differ most, as WebP of quality '
                    f'{WEBP_QUALITY} to keep this page small; the PNG files lie in results/.',
        pictures=json.dumps(pictures).replace('</', '<\\/'))
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding='utf-8')
