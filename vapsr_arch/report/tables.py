"""The tables of benchmarks: Markdown to read, CSV to work on with."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.machine import counted, processor
from vapsr_arch.report.published import published
from vapsr_arch.report.row import Row

NOTES = (
    'Multi-adds (an output of 1280x720) are those of convolutions, Linear layers and matrix products, activations (an input of '
    '256x256) the output elements of convolutions alone, not of Linear layers such as those of BSRN-S.',
    'Latency (median) and peak memory are of one image of 320x180 at the input, in fp32.',
)


class Cell(NamedTuple):
    """A cell: what is read, and what it is sorted by."""

    text: str
    value: float | str | None


def _number(value: float | None, text: str) -> Cell:
    return Cell('' if value is None else text.format(value), value)


def digits(metric: str) -> int:
    """Digits after the point: two for PSNR, four for all else."""
    return 2 if metric.startswith('psnr') else 4


def _scores(scores: dict[str, float] | None, metrics: Sequence[str]) -> Cell:
    """`32.40 / 0.8974`; a metric that a published row lacks is a dash."""
    values = [(metric, (scores or {}).get(metric)) for metric in metrics]
    if all(value is None for _, value in values):
        return Cell('', None)
    text = ' / '.join('-' if value is None else f'{value:.{digits(metric)}f}' for metric, value in values)
    return Cell(text, values[0][1])


def columns(benchmark: Benchmark) -> list[str]:
    """The headings of the main table; all but the first are numbers."""
    return ['network', 'parameters', 'multi-adds [G]', 'activations [M]', *benchmark.sets, 'latency [ms]', 'memory [MiB]']


def cells(benchmark: Benchmark) -> Iterator[tuple[Row, list[Cell]]]:
    """The rows of the main table; cells that could not be measured are empty."""
    for row in benchmark.rows:
        yield row, [
            Cell(row.label, row.label),
            _number(row.parameters, '{:,}'),
            _number(row.multi_adds and row.multi_adds / 1e9, '{:.2f}'),
            _number(row.activations and row.activations / 1e6, '{:.1f}'),
            *(_scores(row.scores.get(name), list(benchmark.metrics)) for name in benchmark.sets),
            _number(row.latency and row.latency * 1e3, '{:.0f}'),
            _number(row.memory and row.memory / 2**20, '{:.0f}'),
        ]


def row_notes(benchmark: Benchmark) -> list[str]:
    """What stands below the main table: why cells are empty, and where published figures come from."""
    notes = [f'{row.label}: {note}' for row in benchmark.rows for note in row.notes()]
    return notes + [f'{row.label}: {row.source}' for row in benchmark.rows if row.source]


class Comparison(NamedTuple):
    """A published figure beside the measured one, PSNR in dB and SSIM."""

    title: str
    set_name: str
    measured: dict[str, float]
    published: tuple[float, float]
    source: str

    @property
    def differences(self) -> tuple[float, float]:
        """Measured less published, rounded as published figures are; without a sign where that is 0."""
        psnr, ssim = self.measured['psnr'] - self.published[0], self.measured['ssim'] - self.published[1]
        return round(psnr, 2) + 0.0, round(ssim, 4) + 0.0


def comparisons(benchmark: Benchmark) -> list[Comparison]:
    """What was published of the networks that were measured, on the same sets; self-ensembles aside."""
    found = []
    for row in benchmark.rows:
        entry = row.network and row.parameters and not row.self_ensemble and published(row.network, row.scale, row.parameters)
        if entry:
            found += [Comparison(row.title, name, row.scores[name], tuple(entry['sets'][name]), entry['source'])
                      for name in benchmark.sets if name in entry['sets'] and {'psnr', 'ssim'} <= set(row.scores.get(name, {}))]
    return found


def _markdown_row(texts: Sequence[str]) -> str:
    """A row in which no name ends a cell or begins a tag."""
    return ' | '.join(['', *(re.sub(r'([|<])', r'\\\1', text) for text in texts), '']).strip()


def measured_on(benchmark: Benchmark) -> str:
    """The machine and the versions that the figures were taken with."""
    machine = benchmark.machine
    return (f'{processor(machine)}, {counted(machine["cores"], "core")}, {counted(machine["threads"], "thread")}; '
            f'torch {machine["torch"]}, BasicSR {machine["basicsr"]}, Python {machine["python"]}')


def conditions(benchmark: Benchmark) -> str:
    """Under which conditions the figures were taken."""
    metrics = ' / '.join(_metric(name, options) for name, options in benchmark.metrics.items())
    return f'{measured_on(benchmark)}. Sets: {metrics}.'


def _metric(name: str, options: Mapping[str, Any]) -> str:
    """`psnr (crop_border 4, test_y_channel True)`: its type, too, where the name does not say it."""
    said = ', '.join(f'{key} {value}' for key, value in options.items() if (key, value) != ('type', f'calculate_{name}'))
    return f'{name} ({said})' if said else name


def _section(benchmark: Benchmark) -> list[str]:
    headings = columns(benchmark)
    lines = [f'# x{benchmark.scale}', '', _markdown_row(headings), '|---|' + '---:|' * (len(headings) - 1)]
    for row, (title, *values) in cells(benchmark):
        name = f'**{title.text}**' if row.is_of(benchmark.highlight) else title.text
        lines.append(_markdown_row([name, *(cell.text for cell in values)]))
    notes = row_notes(benchmark)
    if notes:
        lines += ['', *(f'- {note}' for note in notes)]
    compared = comparisons(benchmark)
    if compared:
        lines += ['', 'Beside what the authors published (PSNR and SSIM on Y):', '',
                  _markdown_row(['network', 'set', 'measured', 'published', 'difference', 'source']),
                  '|---|---|---:|---:|---:|---|']
        for row in compared:
            psnr, ssim = row.differences
            lines.append(_markdown_row([row.title, row.set_name, _scores(row.measured, ['psnr', 'ssim']).text,
                                        '{:.2f} / {:.4f}'.format(*row.published), f'{psnr:+.2f} / {ssim:+.4f}', row.source]))
    return [*lines, '', conditions(benchmark), '']


def markdown(benchmarks: Sequence[Benchmark]) -> str:
    """A section a scale: the table, why cells are empty, the published figures and the conditions."""
    return '\n'.join([line for benchmark in benchmarks for line in _section(benchmark)] + [*NOTES, ''])


def _records(benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    compared = {(row.title, row.set_name): row for row in comparisons(benchmark)}
    for row in benchmark.rows:
        record = {'network': row.label, 'scale': row.scale, 'parameters': row.parameters, 'multi_adds': row.multi_adds,
                  'activations': row.activations, 'latency_s': row.latency, 'memory_bytes': row.memory}
        for name in benchmark.sets:
            for metric in benchmark.metrics:
                record[f'{name}_{metric}'] = row.scores.get(name, {}).get(metric)
            comparison = compared.get((row.title, name))
            for number, metric in enumerate(('psnr', 'ssim')):
                record[f'{name}_{metric}_published'] = comparison and comparison.published[number]
                record[f'{name}_{metric}_difference'] = comparison and round(comparison.differences[number], 6)
        yield record | {'source': row.source, 'notes': '; '.join(row.notes())}


def table_csv(benchmarks: Sequence[Benchmark]) -> str:
    """The tables in base units and full precision, published figures and differences included."""
    records = [record for benchmark in benchmarks for record in _records(benchmark)]
    names = list(dict.fromkeys(name for record in records for name in record if name not in ('source', 'notes')))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, 'source', 'notes'], lineterminator='\n')
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
