"""The two plots of a benchmark: PSNR over parameters and over latency."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from vapsr_arch.files import written_whole
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.machine import counted
from vapsr_arch.report.row import Row

SIZE = (7.5, 4.6)  # inches; README pages are about 850 pixels wide
SMALLEST = 20  # points squared, that a small network is still seen
OURS, OTHERS = '#c8102e', '#4a6fa5'


def save_figure(figure: Figure, path: Path) -> None:
    """Writes PATH.png, PATH.svg and PATH.pdf; the same for the same figure, and with their text as text where that can be."""
    with matplotlib.rc_context({'svg.hashsalt': path.name, 'svg.fonttype': 'none', 'pdf.fonttype': 42}):
        for suffix, options in (('.png', {'dpi': 120}), ('.svg', {'metadata': {'Date': None}}),
                                ('.pdf', {'metadata': {'CreationDate': None}})):
            file = path.with_name(path.name + suffix)
            with written_whole(file) as temporary:
                figure.savefig(temporary, format=suffix[1:], **options)


def _colour(row: Row, highlight: frozenset[str]) -> str:
    return OURS if (row.is_of(highlight) if highlight else 'vapsr' in (row.network or '').lower()) else OTHERS


def _label(axes: Axes, points: list[tuple[float, float, float, str]]) -> None:
    """Names points at (x, y, radius in points, name): beside each, on the side where there is room, without overlaps."""
    renderer = axes.figure.canvas.get_renderer()
    pixels = axes.figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    centres = [(axes.transData.transform((x, y)), radius * pixels) for x, y, radius, _ in points]
    placed = []
    for (x, y, radius, name), _ in sorted(zip(points, centres), key=lambda item: item[1][0][1]):
        gap = radius + 3
        best = None
        for dx, dy, horizontal, vertical in ((gap, 0, 'left', 'center'), (-gap, 0, 'right', 'center'),
                                             (0, gap, 'center', 'bottom'), (0, -gap, 'center', 'top'),
                                             (gap * 0.8, gap * 0.8, 'left', 'bottom'), (gap * 0.8, -gap * 0.8, 'left', 'top'),
                                             (-gap * 0.8, gap * 0.8, 'right', 'bottom'),
                                             (-gap * 0.8, -gap * 0.8, 'right', 'top')):
            text = axes.annotate(name, (x, y), (dx, dy), textcoords='offset points', ha=horizontal, va=vertical, fontsize=9.5)
            box = text.get_window_extent(renderer)
            clashes = sum(box.overlaps(other) for other in placed) * 2
            clashes += sum(box.x0 - r < cx < box.x1 + r and box.y0 - r < cy < box.y1 + r for (cx, cy), r in centres)
            clashes += 4 * (box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1)
            if best is None or clashes < best[0]:
                if best:
                    best[1].remove()
                best = clashes, text, box
            else:
                text.remove()
        placed.append(best[2])


def _scatter(benchmark: Benchmark, rows: list[Row], x: Callable[[Row], float], x_label: str, title: str,
             area: Callable[[Row], float] | None = None) -> Figure:
    """PSNR on the first set over a cost; what was published and not measured is a ring."""
    set_name = next(iter(benchmark.sets))
    figure = Figure(figsize=SIZE, layout='constrained')
    FigureCanvasAgg(figure)  # measures the texts
    axes = figure.subplots()
    sizes = [area(row) if area else 60 for row in rows]
    points = [(x(row), row.scores[set_name]['psnr']) for row in rows]
    colours = [_colour(row, benchmark.highlight) for row in rows]
    axes.scatter(*zip(*points), s=sizes, linewidths=[1.6 if row.source else 1 for row in rows],
                 c=[to_rgba(colour, 0 if row.source else 0.75) for row, colour in zip(rows, colours)],
                 edgecolors=[to_rgba(colour if row.source else 'white', 0.75) for row, colour in zip(rows, colours)])
    axes.margins(x=0.16, y=0.16)
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))
    axes.set_xlabel(x_label)
    axes.set_ylabel(f'PSNR on {set_name} [dB]')
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    figure.draw_without_rendering()
    _label(axes, [(*point, (size / 3.1416)**0.5, row.label) for point, size, row in zip(points, sizes, rows)])
    return figure


def draw_plots(benchmark: Benchmark, out: Path) -> list[Path]:
    """Draws PSNR on the first set over parameters, with multi-adds as area, and over latency.

    Args:
        benchmark: The benchmark.
        out: A folder, for `psnr_parameters` and `psnr_latency`, each as PNG, SVG and PDF.

    Returns:
        The paths, without suffix; a plot for which no row has both figures is left out.
    """
    set_name = next(iter(benchmark.sets), None)
    rows = [row for row in benchmark.rows if 'psnr' in row.scores.get(set_name, {})]
    by_parameters, by_latency = [row for row in rows if row.parameters], [row for row in rows if row.latency]
    scale, machine, figures = benchmark.scale, benchmark.machine, {}
    if by_parameters:
        largest = max((row.multi_adds or 0 for row in by_parameters), default=0)
        area = f'; area: multi-adds, {largest / 1e9:.1f} G the largest' if largest else ''
        figures['psnr_parameters'] = _scatter(
            benchmark, by_parameters, lambda row: row.parameters / 1e3, 'parameters [thousands]',
            f'x{scale}: PSNR over parameters{area}',
            lambda row: max(900 * row.multi_adds / largest, SMALLEST) if row.multi_adds else 60)
    if by_latency:
        figures['psnr_latency'] = _scatter(
            benchmark, by_latency, lambda row: row.latency * 1e3, 'latency at 320x180 input [ms]',
            f'x{scale}: PSNR over latency; {machine["device"]}, {counted(machine["threads"], "thread")}, fp32')
    paths = []
    for name, figure in figures.items():
        paths.append(out / f'{name}{benchmark.suffix}')
        save_figure(figure, paths[-1])
    return paths
