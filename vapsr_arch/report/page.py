"""The page of a benchmark: one HTML file with its table, plots and images inside, which opens without a network."""

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
from vapsr_arch.report.tables import NOTES, Cell, cells, columns, comparisons, conditions, row_notes

IMAGES_PER_SET = 4
WEBP_QUALITY = 95


def _data_uri(image: np.ndarray) -> str:
    """An image, H x W x 3, uint8, BGR, as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).save(buffer, 'webp', quality=WEBP_QUALITY, method=4)
    return 'data:image/webp;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _row(cells: Sequence[Cell], highlighted: bool = False) -> str:
    kind = ' class="highlighted"' if highlighted else ''
    return f'<tr{kind}>' + ''.join(f'<td data-value="{html.escape("" if cell.value is None else str(cell.value))}">'
                                   f'{html.escape(cell.text)}</td>' for cell in cells) + '</tr>'


def _table(headings: Sequence[str], body: Sequence[str]) -> str:
    head = ''.join(f'<th><button type="button">{html.escape(heading)}</button></th>' for heading in headings)
    return f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _main_table(benchmark: Benchmark) -> str:
    """The table of a scale, with its conditions above and, below, why cells are empty."""
    heading = f'<h2>x{benchmark.scale}</h2>' if benchmark.suffix else ''
    body = [_row(values, row.is_of(benchmark.highlight)) for row, values in cells(benchmark)]
    notes = ''.join(f'<li>{html.escape(note)}</li>' for note in row_notes(benchmark))
    return (f'{heading}<p class="small">{html.escape(conditions(benchmark))}</p>{_table(columns(benchmark), body)}'
            + (f'<ul class="small">{notes}</ul>' if notes else ''))


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
    scale = f', x{benchmark.scale}' if benchmark.suffix else ''
    return f'<h2>Beside what the authors published{scale}</h2>' + _table(
        ['network', 'set', 'measured', 'published', 'difference', 'source'], body)


def _chosen(benchmark: Benchmark, set_name: str) -> list[str]:
    """The images of a set on which the rows' first metric differs most."""
    tables = [row.images[set_name] for row in benchmark.rows[1:] if set_name in row.files]
    metric = next(iter(benchmark.metrics), None)
    if not tables or metric is None:
        return []
    spread = {name: np.ptp([table[name][metric] for table in tables]) for name in tables[0]}
    return sorted(sorted(spread, key=spread.__getitem__, reverse=True)[:IMAGES_PER_SET])


def _images(benchmark: Benchmark) -> list[dict]:
    """What the slider shows: for each image its layers, each with its scores and its pixels."""
    shown = []
    scale = f'x{benchmark.scale} ' if benchmark.suffix else ''
    for set_name, images in benchmark.sets.items():
        for name in _chosen(benchmark, set_name):
            image = images.find(name)
            layers = [('HR', image.hr, None), ('bicubic', image.bicubic, benchmark.rows[0].images[set_name][name])]
            layers += [(row.title, cv2.imread(row.files[set_name][name]), row.images[set_name][name])
                       for row in benchmark.rows[1:] if set_name in row.files]
            shown.append({
                'title': f'{scale}{set_name}: {name}', 'width': image.hr.shape[1], 'height': image.hr.shape[0],
                'layers': [{'title': title, 'pixels': _data_uri(pixels),
                            'scores': ', '.join(f'{metric} {value:.4g}' for metric, value in (scores or {}).items())}
                           for title, pixels, scores in layers]})
    return shown


def _json(value: object) -> str:
    """JSON that may stand within a script element: names such as `<!--<script>` do not end or open one."""
    text = json.dumps(value)
    for character in '<>&':
        text = text.replace(character, f'\\u{ord(character):04x}')
    return text


def _inline_svg(path: Path) -> str:
    """An SVG for use within a page: without its XML header, and with ids of its own."""
    svg = path.read_text(encoding='utf-8')
    svg = svg[svg.index('<svg'):]
    prefix = path.stem + '-'
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(xlink:href="#|url\(#)', rf'\g<1>{prefix}', svg)


def write_page(benchmarks: Sequence[Benchmark], plots: Sequence[Path], strips: Sequence[Path], path: Path) -> None:
    """Writes the page.

    Args:
        benchmarks: The benchmarks, one a scale.
        plots: Plots without suffix, of which there is an SVG.
        strips: Strips and other figures: PNG files.
        path: The HTML file.
    """
    images = [image for benchmark in benchmarks for image in _images(benchmark)]
    strip_tags = ''.join(f'<img class="strip" alt="{html.escape(strip.stem)}" src="data:image/png;base64,'
                         f'{base64.b64encode(strip.read_bytes()).decode()}">' for strip in strips)
    page = Template(Path(__file__).with_suffix('.html').read_text(encoding='utf-8')).substitute(
        title=f'Super-resolution {", ".join(f"x{benchmark.scale}" for benchmark in benchmarks)}',
        notes=' '.join(html.escape(note) for note in NOTES),
        tables=''.join(map(_main_table, benchmarks)), published=''.join(map(_published_table, benchmarks)),
        plots=''.join(f'<figure>{_inline_svg(plot.with_name(plot.name + ".svg"))}</figure>' for plot in plots),
        strips=f'<h2>Figures</h2>{strip_tags}' if strips else '',
        slider_hidden='' if images else 'hidden',
        slider_note=f'Of each set the {IMAGES_PER_SET} images on which the networks differ most, as WebP of quality '
                    f'{WEBP_QUALITY} to keep this page small; the PNG files lie in results/.',
        images=_json(images))
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding='utf-8')
