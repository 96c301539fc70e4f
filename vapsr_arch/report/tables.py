"""The table of a benchmark: Markdown to read, CSV to go on with."""

import csv
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from vapsr_arch.report.benchmark import Benchmark
from vapsr_arch.report.machine import counted
from vapsr_arch.report.published import published
from vapsr_arch.report.runs import Run

NOTES = (
    'Multi-adds (an output of 1280x720) are those of convolutions and Linear layers, activations (an input of 256x256) the '
    'output elements of convolutions alone; both are counted with fvcore. Linear layers, which BSRN-S has for its 1x1 '
    'convolutions, are not among the activations.',
    'Latency (median) and peak memory are of one image of 320x180 at the input, in fp32.',
)


class Cell(NamedTuple):
    """A cell: what is read, and what it is sorted by."""

    text: str
    value: float | str | None


def _number(value: float | None, text: str) -> Cell:
    return Cell('' if value is None else text.format(value), value)


def _scores(scores: dict[str, float] | None) -> Cell:
    """`32.40 / 0.8974`: PSNR has two digits, all else four."""
    if not scores:
        return Cell('', None)
    text = ' / '.join(f'{value:.2f}' if metric == 'psnr' else f'{value:.4f}' for metric, value in scores.items())
    return Cell(text, next(iter(scores.values())))


def columns(benchmark: Benchmark) -> list[str]:
    """The headings of the main table; all but the first are numbers."""
    return ['network', 'parameters', 'multi-adds [G]', 'activations [M]', *benchmark.sets, 'latency [ms]', 'memory [MiB]']


def rows(benchmark: Benchmark) -> Iterator[tuple[Run, list[Cell]]]:
    """The rows of the main table. One that failed has its reason in `Run.failure` and empty cells."""
    for run in benchmark.runs:
        yield run, [
            Cell(run.title, run.title),
            _number(run.parameters, '{:,}'),
            _number(run.multi_adds and run.multi_adds / 1e9, '{:.2f}'),
            _number(run.activations and run.activations / 1e6, '{:.1f}'),
            *(_scores(run.scores.get(name)) for name in benchmark.sets),
            _number(run.latency and run.latency * 1e3, '{:.0f}'),
            _number(run.memory and run.memory / 2**20, '{:.0f}'),
        ]


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
    """What was published of the networks that were measured, on the same sets."""
    found = []
    for run in benchmark.runs:
        entry = run.network and run.parameters and published(run.network, run.scale, run.parameters)
        if entry:
            found += [Comparison(run.title, name, run.scores[name], tuple(entry['sets'][name]), entry['source'])
                      for name in benchmark.sets if name in entry['sets'] and {'psnr', 'ssim'} <= set(run.scores.get(name, {}))]
    return found


def _markdown_row(cells: list[str]) -> str:
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'


def conditions(benchmark: Benchmark) -> str:
    """Under which conditions the figures were taken, in a sentence."""
    machine = benchmark.machine
    metrics = ' / '.join(f'{name} (' + ', '.join(f'{key} {value}' for key, value in options.items()) + ')'
                         for name, options in benchmark.metrics.items())
    return (f'{machine["device"]}, {counted(machine["cores"], "core")}, {counted(machine["threads"], "thread")}; '
            f'torch {machine["torch"]}, BasicSR {machine["basicsr"]}, Python {machine["python"]}. Sets: {metrics}.')


def markdown(benchmark: Benchmark) -> str:
    """The table, the published figures and the conditions."""
    headings = columns(benchmark)
    lines = [f'# x{benchmark.scale}', '', _markdown_row(headings), '|---|' + '---:|' * (len(headings) - 1)]
    for run, cells in rows(benchmark):
        lines.append(_markdown_row([run.title, f'failed: {run.failure}', *[''] * (len(headings) - 2)] if run.failure
                                   else [cell.text for cell in cells]))
    compared = comparisons(benchmark)
    if compared:
        lines += ['', 'Beside what the authors published (PSNR and SSIM on Y):', '',
                  _markdown_row(['network', 'set', 'measured', 'published', 'difference', 'source']),
                  '|---|---|---:|---:|---:|---|']
        for row in compared:
            psnr, ssim = row.differences
            lines.append(_markdown_row([row.title, row.set_name, _scores(row.measured).text,
                                        '{:.2f} / {:.4f}'.format(*row.published), f'{psnr:+.2f} / {ssim:+.4f}', row.source]))
    return '\n'.join([*lines, '', conditions(benchmark), '', *NOTES, ''])


def table_csv(benchmark: Benchmark) -> str:
    """The table in base units and full precision, published figures and differences included."""
    compared = {(row.title, row.set_name): row for row in comparisons(benchmark)}
    table: list[dict[str, Any]] = []
    for run in benchmark.runs:
        record = {'network': run.title, 'scale': run.scale, 'parameters': run.parameters, 'multi_adds': run.multi_adds,
                  'activations': run.activations, 'latency_s': run.latency, 'memory_bytes': run.memory}
        for name in benchmark.sets:
            for metric in benchmark.metrics:
                record[f'{name}_{metric}'] = run.scores.get(name, {}).get(metric)
            row = compared.get((run.title, name))
            for number, metric in enumerate(('psnr', 'ssim')):
                record[f'{name}_{metric}_published'] = row and row.published[number]
                record[f'{name}_{metric}_difference'] = row and round(row.differences[number], 6)
        table.append(record | {'failure': run.failure})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
