"""The two plots of a benchmark: PSNR over parameters and over latency."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from vapsr_arch.files import written_whole
from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.machine import counted, processor
from vapsr_arch.report.row import Row

SIZE, CROWDED_SIZE = (7.5, 4.6), (7.5, 6.4)  # inches; README pages are about 850 pixels wide
CROWD = 12  # points: with more, the plot is higher and its names are smaller
DISTANCES = 3, 10, 18, 28, 40, 55, 75, 100  # of names from their points, in points; from the second on with a line
_ANGLES = np.radians((0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 70, 110, 250, 290))
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).round(6)
NEIGHBOURS = 40  # points within which others are neighbours
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


class _Labels:
    """Places the names of points beside them, without overlaps; a name that is not next to its point gets a line to it.

    Args:
        axes: The plot, drawn, so that its scales are known.
        points: The points: x, y, radius in points, and name.
    """

    def __init__(self, axes: Axes, points: list[tuple[float, float, float, str]]) -> None:
        renderer, self._pixels = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
        self._axes, self._frame = axes, axes.get_window_extent(renderer).extents
        self._names = [name for *_, name in points]
        self._size = 9.5 if len(points) <= CROWD else 8
        self._centres = axes.transData.transform([point[:2] for point in points])
        self._radii = np.array([radius * self._pixels for _, _, radius, _ in points])
        texts = [axes.text(0, 0, name, fontsize=self._size, parse_math=False) for name in self._names]
        self._sizes = np.array([text.get_window_extent(renderer).size for text in texts]) + 2 * self._pixels  # a margin
        for text in texts:
            text.remove()
        self._boxes = np.empty((0, 4))  # of the names placed so far: left, bottom, right, top in pixels
        self._lines = np.empty((0, 2))  # some pixels of each line drawn so far

    def draw(self) -> None:
        """Places all names, those with the most neighbours first."""
        distances = np.linalg.norm(self._centres[:, None] - self._centres, axis=2)
        for index in np.argsort(-(distances < NEIGHBOURS * self._pixels).sum(1), kind='stable'):
            self._place(int(index))

    def _place(self, index: int) -> None:
        centre, size = self._centres[index], self._sizes[index]
        distances = np.repeat(DISTANCES, len(DIRECTIONS))
        directions = np.tile(DIRECTIONS, (len(DISTANCES), 1))
        # A name to the left or right lies beside its point; one above or below is centred over it.
        middles = centre + directions * (self._radii[index] + distances * self._pixels)[:, None] + np.sign(directions) * size / 2
        boxes = np.hstack([middles - size / 2, middles + size / 2])
        with_line = np.arange(len(boxes)) >= len(DIRECTIONS)
        costs = [self._cost(index, box, has_line) + distance / DISTANCES[-1]
                 for box, has_line, distance in zip(boxes, with_line, distances)]
        best = int(np.argmin(costs))
        to_data = self._axes.transData.inverted().transform
        if with_line[best]:
            ends = np.stack([centre, _nearest(boxes[best], centre)])
            self._lines = np.vstack([self._lines, np.linspace(*ends, 20)])
            self._axes.plot(*to_data(ends).T, color='0.45', linewidth=0.6, zorder=1, scalex=False, scaley=False)
        self._boxes = np.vstack([self._boxes, boxes[best]])
        self._axes.text(*to_data(middles[best]), self._names[index], fontsize=self._size, ha='center', va='center',
                        parse_math=False)  # two $ in a name are no formula

    def _cost(self, index: int, box: np.ndarray, has_line: bool) -> float:
        """How many names, points, lines and edges of the plot a name would cover, and its line other names and points; and
        whether, without a line, it would be taken for another point's."""
        names = ((box[:2] < self._boxes[:, 2:]) & (box[2:] > self._boxes[:, :2])).all(1).sum()
        distances = np.linalg.norm(_nearest(box, self._centres) - self._centres, axis=1) - self._radii
        points, mistaken = (distances < 0).sum(), not has_line and distances.argmin() != index
        lines = _within(box, self._lines).any()
        outside = (box[:2] < self._frame[:2]).any() or (box[2:] > self._frame[2:]).any()
        line = np.linspace(self._centres[index], _nearest(box, self._centres[index]), 20)
        crossed = sum(_within(other, line).any() for other in self._boxes)
        near = np.linalg.norm(line[:, None] - self._centres, axis=2).min(0) < self._radii
        return 4 * (names + points + lines) + 8 * outside + 2 * (crossed + np.delete(near, index).sum() + mistaken)


def _nearest(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The places within a box (left, bottom, right, top) that are nearest to points."""
    return np.clip(points, box[:2], box[2:])


def _within(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points are within a box."""
    return ((points > box[:2]) & (points < box[2:])).all(1)


def _names(rows: list[Row]) -> list[str]:
    """The labels of rows; in a crowded plot, of measured ones without what is in brackets at their end, such as a year, where
    they still differ."""
    if len(rows) <= CROWD:
        return [row.label for row in rows]
    short = [row.label if row.source else re.sub(r' \([^()]*\)$', '', row.label) for row in rows]
    return [name if short.count(name) == 1 else row.label for name, row in zip(short, rows)]


def _scatter(benchmark: Benchmark, rows: list[Row], x: Callable[[Row], float], x_label: str, title: str,
             area: Callable[[Row], float] | None = None) -> Figure:
    """PSNR on the first set over a cost; what was published and not measured is a ring."""
    set_name = next(iter(benchmark.sets))
    figure = Figure(figsize=SIZE if len(rows) <= CROWD else CROWDED_SIZE, layout='constrained')
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
    axes.set_ylabel(f'PSNR on {set_name} [dB]', parse_math=False)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    figure.draw_without_rendering()
    _Labels(axes, [(*point, (size / 3.1416)**0.5, name) for point, size, name in zip(points, sizes, _names(rows))]).draw()
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
            f'x{scale}: PSNR over latency; {processor(machine)}, {counted(machine["threads"], "thread")}, fp32')
    paths = []
    for name, figure in figures.items():
        paths.append(out / f'{name}{benchmark.suffix}')
        save_figure(figure, paths[-1])
    return paths
