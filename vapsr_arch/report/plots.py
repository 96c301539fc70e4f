"""The two pictures of a benchmark: PSNR over parameters and over latency."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vapsr_arch.files import written_whole
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.machine import counted
from vapsr_arch.report.runs import Run

SIZE = (7.5, 4.6)  # inches; README pages are about 850 pixels wide
OURS, OTHERS = '#c8102e', '#4a6fa5'


def save_figure(figure: Figure, path: Path) -> None:
    """Writes PATH.png and PATH.svg; the SVG is the same for the same figure, and keeps its text as text."""
    with matplotlib.rc_context({'svg.hashsalt': path.name, 'svg.fonttype': 'none'}):
        for suffix, options in (('.png', {'dpi': 120}), ('.svg', {'metadata': {'Date': None}})):
            with written_whole(path.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], **options)


def _colour(run: Run) -> str:
    return OURS if 'vapsr' in run.network.lower() else OTHERS


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


def _scatter(runs: list[Run], set_name: str, x: Callable[[Run], float], x_label: str, title: str,
             area: Callable[[Run], float] | None = None) -> Figure:
    figure = Figure(figsize=SIZE, layout='constrained')
    FigureCanvasAgg(figure)  # measures the texts
    axes = figure.subplots()
    sizes = [area(run) if area else 60 for run in runs]
    points = [(x(run), run.scores[set_name]['psnr']) for run in runs]
    axes.scatter(*zip(*points), s=sizes, c=[_colour(run) for run in runs], alpha=0.75, edgecolors='white', linewidths=1)
    axes.margins(x=0.16, y=0.16)
    axes.set_xlim(left=max(axes.get_xlim()[0], 0))
    axes.set_xlabel(x_label)
    axes.set_ylabel(f'PSNR on {set_name} [dB]')
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    figure.draw_without_rendering()
    _label(axes, [(*point, (size / 3.1416)**0.5, run.title) for point, size, run in zip(points, sizes, runs)])
    return figure


def draw_plots(benchmark: Benchmark, out: Path) -> list[Path]:
    """Draws PSNR on the first set over parameters, with multi-adds as area, and over latency.

    Args:
        benchmark: The benchmark.
        out: A folder, for `psnr_parameters` and `psnr_latency`, each as PNG and SVG.

    Returns:
        The paths, without suffix; empty where nothing can be drawn, for want of networks or of PSNR.
    """
    set_name = next(iter(benchmark.sets))
    runs = [run for _, run in benchmark.finished if 'psnr' in run.scores.get(set_name, {})]
    if not runs:
        return []
    scale, machine = benchmark.scale, benchmark.machine
    largest = max(run.multi_adds for run in runs)
    by_parameters = _scatter(runs, set_name, lambda run: run.parameters / 1e3, 'parameters [thousands]',
                             f'x{scale}: PSNR over parameters; area: multi-adds, {largest / 1e9:.1f} G the largest',
                             lambda run: 900 * run.multi_adds / largest)
    by_latency = _scatter(runs, set_name, lambda run: run.latency * 1e3, 'latency at 320x180 input [ms]',
                          f'x{scale}: PSNR over latency; {machine["device"]}, {counted(machine["threads"], "thread")}, fp32')
    paths = [out / 'psnr_parameters', out / 'psnr_latency']
    for figure, path in zip((by_parameters, by_latency), paths):
        save_figure(figure, path)
    return paths
