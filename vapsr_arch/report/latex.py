"""The tables of benchmarks for a paper: LaTeX with booktabs, the best figure of a column bold, the second underlined."""

import re
from collections.abc import Sequence

from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.row import Row
from vapsr_arch.report.tables import digits, row_notes

_SPECIAL = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'} | {
    character: f'\\{character}' for character in '&%$#_{}'} | {
    character: f'{{{character}}}' for character in '[]*'}  # which are arguments of the \\\\ before them
_COSTS = (('parameters', 'Params [K]', 1e3, 0), ('multi_adds', 'Multi-adds [G]', 1e9, 2),
          ('activations', 'Acts [M]', 1e6, 1), ('latency', 'Latency [ms]', 1e-3, 0), ('memory', 'Memory [MiB]', 2**20, 0))


def escape(text: str) -> str:
    """Text as LaTeX shows it."""
    return re.sub(r'[\\~^&%$#_{}\[\]*]', lambda match: _SPECIAL[match[0]], text)


def _ranked(values: Sequence[float | None], metric: str, lower: bool) -> list[str]:
    """A column's figures, the best bold and the second underlined, as they are rounded."""
    texts = ['' if value is None else f'{value:.{digits(metric)}f}' for value in values]
    best = sorted({float(text) for text in texts if text}, reverse=not lower)[:2]
    marks = [r'\textbf{%s}', r'\underline{%s}']
    return [marks[best.index(float(text))] % text if text and float(text) in best else text or '--' for text in texts]


def _title(row: Row, benchmark: Benchmark) -> str:
    title = escape(row.title) + (r'$^\dagger$' if row.source else '')
    return rf'\textbf{{{title}}}' if row.is_of(benchmark.highlight) else title


def latex(benchmark: Benchmark) -> str:
    """One scale's table: a `tabular` to put into a `table`. It needs the package booktabs."""
    rows, metrics = benchmark.rows, list(benchmark.metrics)
    costs = [cost for cost in _COSTS if any(getattr(row, cost[0]) is not None for row in rows)]
    body = [[_title(row, benchmark), *('--' if getattr(row, name) is None else f'{getattr(row, name) / unit:,.{places}f}'
                                      for name, _, unit, places in costs)] for row in rows]
    for name in benchmark.sets:
        ranked = [_ranked([row.scores.get(name, {}).get(metric) for row in rows], metric,
                          benchmark.metrics[metric].get('better') == 'lower') for metric in metrics]
        for cells, *figures in zip(body, *ranked):
            cells.append('--' if set(figures) <= {'--'} else ' / '.join(figures))
    heading = ['Method', *(label for _, label, _, _ in costs), *map(escape, benchmark.sets)]
    below = ['', *('' for _ in costs), *(' / '.join(escape(metric.upper()) for metric in metrics) for _ in benchmark.sets)]
    lines = [rf'\begin{{tabular}}{{l{"r" * (len(heading) - 1)}}}', r'\toprule', ' & '.join(heading) + r' \\',
             ' & '.join(below) + r' \\', r'\midrule', *(' & '.join(cells) + r' \\' for cells in body), r'\bottomrule',
             r'\end{tabular}']
    return '\n'.join([f'% x{benchmark.scale}', *lines, *(f'% {note}' for note in row_notes(benchmark))])


def table_tex(benchmarks: Sequence[Benchmark]) -> str:
    """A table a scale."""
    published = any(row.source for benchmark in benchmarks for row in benchmark.rows)
    head = r'% \usepackage{booktabs}' + ('\n% A dagger marks published figures, not measured here.' if published else '')
    return '\n\n'.join([head, *map(latex, benchmarks)]) + '\n'
