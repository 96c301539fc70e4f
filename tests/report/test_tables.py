"""Tables and plots of figures that are known."""

import csv
import io
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.comparison import Panel, Patch, draw_strip
from vapsr_arch.report.plots import OTHERS, OURS, draw_plots
from vapsr_arch.report.row import Row
from vapsr_arch.report.tables import markdown, table_csv

METRIC = {'crop_border': 4, 'test_y_channel': True}


@pytest.fixture
def benchmark() -> Benchmark:
    def row(title: str, parameters: int, latency: float, psnr: float, ssim: float) -> Row:
        return Row(title, 4, title, parameters=parameters, multi_adds=20 * 10**9, activations=10**6, latency=latency,
                   memory=2**20, scores={'Set5': {'psnr': psnr, 'ssim': ssim}})

    rows = [Row('bicubic', 4, scores={'Set5': {'psnr': 28.43, 'ssim': 0.8111}}), row('VapSR', 342220, 9.0, 32.3998, 0.89741),
            row('IMDN', 715176, 0.1, 32.2111, 0.89478)]
    return SimpleNamespace(
        rows=rows, sets={'Set5': None}, scale=4, suffix='', highlight=frozenset(),
        metrics={'psnr': {'type': 'calculate_psnr', **METRIC}, 'ssim': {'type': 'calculate_ssim', **METRIC}},
        machine={'device': 'Some CPU', 'instructions': 'AVX2', 'cores': 1, 'threads': 2, 'torch': '2', 'basicsr': '1',
                 'python': '3'})


def test_published_figures_stand_beside_the_measured_ones(benchmark: Benchmark) -> None:
    table = markdown([benchmark])
    assert '| VapSR | Set5 | 32.40 / 0.8974 | 32.38 / 0.8978 | +0.02 / -0.0004 | README of github.com/zhoumumu/VapSR;' in table
    assert '| IMDN | Set5 | 32.21 / 0.8948 | 32.21 / 0.8948 | +0.00 / +0.0000 | Hui et al., ACM MM 2019' in table
    bicubic, vapsr, _ = csv.DictReader(io.StringIO(table_csv([benchmark])))
    assert (vapsr['Set5_psnr'], vapsr['Set5_psnr_published'], vapsr['Set5_psnr_difference']) == ('32.3998', '32.38', '0.02')
    assert (vapsr['Set5_ssim_published'], vapsr['Set5_ssim_difference']) == ('0.8978', '-0.0004')
    assert bicubic['Set5_psnr_published'] == ''


def test_names_end_no_cell_and_begin_no_tag(benchmark: Benchmark) -> None:
    benchmark.rows[0] = Row('<!--<script>|', 4, scores=benchmark.rows[0].scores)
    assert r'| \<!--\<script>\| |  |  |  | 28.43 / 0.8111 |  |  |' in markdown([benchmark]).splitlines()


def test_the_table_says_the_conditions(benchmark: Benchmark) -> None:
    assert ('Some CPU (AVX2), 1 core, 2 threads; torch 2, BasicSR 1, Python 3. Sets: psnr (crop_border 4, '
            'test_y_channel True) / ssim (') in markdown([benchmark])


def test_highlighted_rows_have_bold_names_and_the_accent_colour(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr('vapsr_arch.report.plots.save_figure', lambda figure, path: figures.append(figure))
    benchmark.rows.append(Row('New', 4, parameters=500000, source='a paper', scores={'Set5': {'psnr': 32.3}}))
    benchmark.highlight = frozenset(['IMDN'])
    assert '| **IMDN** | 715,176 |' in markdown([benchmark]) and '| VapSR | 342,220 |' in markdown([benchmark])
    draw_plots(benchmark, Path('out'))
    by_parameters, by_latency = (figure.axes[0].collections[0] for figure in figures)
    accent, other = (pytest.approx([*to_rgb(colour), 0.75]) for colour in (OURS, OTHERS))
    vapsr, imdn, published = by_parameters.get_facecolors()
    assert vapsr == other and imdn == accent and published[3] == 0  # a ring: it was not measured here
    assert by_parameters.get_edgecolors()[2] == other
    assert len(by_latency.get_offsets()) == 2


def test_published_rows_are_marked_and_name_their_source(benchmark: Benchmark) -> None:
    benchmark.rows.append(Row('New', 4, parameters=500000, source='a paper', scores={'Set5': {'psnr': 32.3}}))
    table = markdown([benchmark])
    assert '| New (published) | 500,000 |  |  | 32.30 / - |  |  |' in table and '\n- New (published): a paper\n' in table


def test_no_plot_begins_below_zero(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr('vapsr_arch.report.plots.save_figure', lambda figure, path: figures.append(figure))
    draw_plots(benchmark, Path('out'))
    by_parameters, by_latency = (figure.axes[0] for figure in figures)
    assert by_latency.get_xlim()[0] == 0 and by_latency.get_xlim()[1] > 9000
    assert 0 <= by_parameters.get_xlim()[0] < 342


def test_names_are_no_formulas(benchmark: Benchmark, tmp_path: Path) -> None:
    name = r'$\frac$'
    benchmark.rows.append(Row(name, 4, parameters=500000, scores={'Set5': {'psnr': 32.3}}))
    benchmark.sets = {name: benchmark.sets['Set5']}
    for row in benchmark.rows:
        row.scores = {name: row.scores['Set5']}
    draw_plots(benchmark, tmp_path)
    assert 'frac$</text>' in (tmp_path / f'psnr_parameters{benchmark.suffix}.svg').read_text()
    panel = Panel(np.zeros((8, 8, 3), np.uint8), name)
    draw_strip(panel.image, Patch(0, 0, 4, 4), [panel], name, tmp_path / 'strip.png')
    assert (tmp_path / 'strip.png').is_file()


def test_crowded_plots_leave_brackets_out_of_names(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr('vapsr_arch.report.plots.save_figure', lambda figure, path: figures.append(figure))
    benchmark.rows = [Row(title, 4, 'Other', parameters=1000 * number, scores={'Set5': {'psnr': 32 + number}}, source=source)
                      for number, (title, source) in enumerate((
                          ('A (2024)', None), ('B', None), ('B (ours)', None), ('C', 'a paper')), start=1)]
    draw_plots(benchmark, Path('out'))
    benchmark.rows += [Row(number, 4, 'Other', parameters=1, scores={'Set5': {'psnr': 32}}) for number in '012345678']
    draw_plots(benchmark, Path('out'))
    few, many = ({text.get_text() for text in figure.axes[0].texts} - set('012345678') for figure in figures)
    assert few == {'A (2024)', 'B', 'B (ours)', 'C (published)'} and many == {'A', 'B', 'B (ours)', 'C (published)'}


def test_names_in_a_crowded_plot_do_not_overlap(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr('vapsr_arch.report.plots.save_figure', lambda figure, path: figures.append(figure))
    benchmark.rows += [Row(f'A network, number {number}', 4, 'Other', parameters=342000 + 9000 * number,
                           scores={'Set5': {'psnr': 32.3 + number % 3 / 50}}) for number in range(15)]
    draw_plots(benchmark, Path('out'))
    figure = figures[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 17 and not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    frame = figure.axes[0].get_window_extent()
    assert all(frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1 for box in boxes)


def test_a_name_without_a_line_is_nearest_to_its_own_point(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr('vapsr_arch.report.plots.save_figure', lambda figure, path: figures.append(figure))
    # As they were, C's name stood below the point of A, which is to the right of C.
    points = {'A': (528, 32.166), 'B': (576, 32.158), 'C-C-C-C': (426, 32.157), 'D': (654, 32.252), 'E': (710, 32.21),
              'F': (388, 32.04), 'G': (655, 32.1), 'H': (2000, 31.4), 'I': (310, 32.1), 'J': (311, 32.08)}
    benchmark.rows = [Row(name, 4, 'Other', parameters=1000 * x, scores={'Set5': {'psnr': y}}) for name, (x, y) in points.items()]
    draw_plots(benchmark, Path('out'))
    axes = figures[0].axes[0]
    figures[0].draw_without_rendering()
    centres = axes.transData.transform(list(points.values()))
    with_line = {tuple(line.get_xydata()[0].round(3)) for line in axes.lines}
    alone = [text for text in axes.texts if points[text.get_text()] not in with_line]
    assert len(alone) > 4
    for text in alone:
        box = text.get_window_extent()
        gaps = np.linalg.norm(np.clip(centres, (box.x0, box.y0), (box.x1, box.y1)) - centres, axis=1)
        assert list(points)[gaps.argmin()] == text.get_text()
