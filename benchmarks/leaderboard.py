"""Measures the networks of leaderboard.yml and writes docs/leaderboard.md with its plots: `make leaderboard`.

python benchmarks/leaderboard.py [--repositories DIR]

Run from the repository's root. Code and checkpoints of other repositories are downloaded to results/leaderboard/repositories,
each checked against its sum, and the code is run; `--repositories DIR` takes them from clones, DIR/OWNER/NAME. What cannot be
had, sets included, is left out, and the page says so; a page that would lose rows of docs/leaderboard.md goes to
results/leaderboard instead. What this folder has of an earlier run, and is unchanged since, is not measured again.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vapsr_arch.basicsr_imports import make_basicsr_importable
from vapsr_arch.downloads import Source, download, has_checksum
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.weights.authors import CHECKPOINTS, get_weights

make_basicsr_importable()
from vapsr_arch.options.reading import load_options  # noqa: E402
from vapsr_arch.report.benchmark import Benchmark, Wishes, read_benchmarks  # noqa: E402
from vapsr_arch.report.published import published  # noqa: E402
from vapsr_arch.report.report import write_report  # noqa: E402
from vapsr_arch.report.row import Row  # noqa: E402
from vapsr_arch.report.tables import NOTES, measured_on  # noqa: E402

OUT = Path('results/leaderboard')
REPOSITORIES = OUT / 'repositories'
PAGE = Path('docs/leaderboard.md')
DATA = Path(__file__).with_name('leaderboard.yml')
SETS = ('Set5', 'Set14', 'B100')
EXPLAINED = 0.03  # dB: a larger difference from what was published gets a reason, or is named as unexplained


class Entry(NamedTuple):
    """A network of leaderboard.yml, ready to be measured.

    Attributes:
        name: What its row is called.
        scale: The scale.
        source: Where its checkpoint is from, as Markdown.
        licence: The licence that its repository states.
        published: What the source gives; see leaderboard.yml.
        reason: Why its figures differ from the published ones, where that is known.
        option_file: The test option file that was written for it.
    """

    name: str
    scale: int
    source: str
    licence: str
    published: dict[str, float]
    reason: str
    option_file: Path


def _test_options(scale: int) -> dict[str, Any]:
    """The test option file whose sets and metrics all rows of a scale have."""
    return yaml.safe_load(Path(f'options/test/VapSR/test_VapSR_x{scale}.yml').read_text(encoding='utf-8'))


def _file(repository: str, path: str, data: dict[str, Any], clones: Path | None) -> Path:
    """A file of a repository with the right sum, downloaded or copied from a clone where it is not there yet.

    Raises:
        VapsrError: It cannot be had, or is another file.
    """
    info, checksum = data['repositories'][repository], f'sha256:{data["sums"][repository][path]}'
    target = REPOSITORIES / info['address'] / path
    if target.is_file() and has_checksum(target, checksum):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if clones is None:
        download(Source(f'https://github.com/{info["address"]}/raw/{info["commit"]}/{path}', checksum), target)
        return target
    clone = clones / info['address'] / path
    if not clone.is_file() or not has_checksum(clone, checksum):
        raise VapsrError(f'{clone} is not there, or is not the file of commit {info["commit"][:7]}')
    shutil.copyfile(clone, target)
    return target


def _own(network: dict[str, Any], options: dict[str, Any]) -> tuple[str, str]:
    """Takes the network and checkpoint of an option file of this project; returns source and licence."""
    own = load_options(network['option_file'], is_train=False)
    options['network_g'] = own['network_g'] | network.get('options', {})
    weights = Path(network.get('weights', own['path']['pretrain_network_g']))
    options['path'] = {'pretrain_network_g': str(weights), 'strict_load_g': True}
    if 'weights' in network:
        return 'this project', network['licence']
    if not weights.is_file():
        get_weights([weights.stem], weights.parent)
    checkpoint = CHECKPOINTS[weights.stem]
    return f'[{checkpoint.repository}](https://github.com/{checkpoint.repository})', checkpoint.licence


def _foreign(network: dict[str, Any], options: dict[str, Any], data: dict[str, Any], clones: Path | None) -> tuple[str, str]:
    """Takes the network and checkpoint of a repository, or of files of one's own; returns source and licence."""
    repository = network.get('repository')

    def found(path: str) -> str:
        return str(_file(repository, path, data, clones) if repository else path)

    if 'code' in network:
        path, _, class_name = network['code'].rpartition(':')
        options['network_g'] = {'type': f'{found(path)}:{class_name}', **network.get('options', {})}
    else:
        options['network_g'] = {'type': 'Spandrel'}
    options['path'] = {'pretrain_network_g': found(network['weights'])}
    if not repository:
        return network['weights'], network.get('licence', '')
    info = data['repositories'][repository]
    return f'[{info["address"]}](https://github.com/{info["address"]}/tree/{info["commit"]})', info['licence']


def entries(data: dict[str, Any], clones: Path | None) -> Iterator[Entry | str]:
    """The networks whose files can be had; of the others a sentence each."""
    for network in data['networks']:
        scale = network.get('scale', 4)
        options = _test_options(scale) | {'name': network['name']}
        try:
            if 'option_file' in network:
                source, licence = _own(network, options)
            else:
                source, licence = _foreign(network, options, data, clones)
        except VapsrError as error:
            yield f'{network["name"]}, x{scale}: {error}'
            continue
        option_file = OUT / 'options' / f'x{scale}' / f'{network["name"]}.yml'
        option_file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(option_file) as temporary:
            temporary.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
        yield Entry(network['name'], scale, source, licence, network.get('published', {}), network.get('reason', ''), option_file)


def _table(headings: list[str], rows: list[list[str]], figures: bool = False) -> list[str]:
    """A table; with figures, all columns but the first and the last are aligned to the right."""
    rules = ['---', *['---:' if figures else '---'] * (len(headings) - 2), '---']
    return [f'| {" | ".join(headings)} |', f'|{"|".join(rules)}|', *(f'| {" | ".join(row)} |' for row in rows), '']


def _measured(benchmark: Benchmark, of: dict[str, Entry]) -> list[str]:
    """The table of a scale, the best on the last set first."""
    sets = [name for name in SETS if name in benchmark.sets]
    is_timed = any(row.latency for row in benchmark.rows)

    def worse(row: Row) -> float:
        return -row.scores.get(sets[-1], {}).get('psnr', 0) if sets else 0

    rows = []
    for row in sorted(benchmark.rows, key=worse):
        entry = of.get(row.title)
        rows.append([
            row.title,
            f'{row.parameters / 1e3:,.0f}' if row.parameters else '',
            f'{row.multi_adds / 1e9:.2f}' if row.multi_adds else '',
            f'{row.activations / 1e6:.1f}' if row.activations else '',
            *('{psnr:.2f} / {ssim:.4f}'.format(**row.scores[name]) if row.scores.get(name) else '' for name in sets),
            *((f'{row.latency * 1e3:.0f}' if row.latency else '', f'{row.memory / 2**20:.0f}' if row.memory else '')
              if is_timed else ()),
            entry.licence if entry else '',
        ])
    table = _table(['network', 'parameters [K]', 'multi-adds [G]', 'activations [M]', *sets,
                    *(('latency [ms]', 'memory [MiB]') if is_timed else ()), 'licence'], rows, figures=True)
    return table + [f'- {row.title}: {note}' for row in benchmark.rows for note in row.notes()]


def _differences(row: Row, entry: Entry) -> Iterator[tuple[str, str, str, float | None]]:
    """Of each published figure that was measured: what, measured, published, and PSNR's difference in dB."""
    given = dict(entry.published)
    if not given and row.parameters and (known := published(row.network, row.scale, row.parameters)):
        given = {name: values[0] for name, values in known['sets'].items()}
    for name, figure in given.items():
        if name == 'parameters' and row.parameters:
            yield 'parameters [M]', f'{row.parameters / 1e6:.3f}', f'{figure:.3f}', None
        elif name == 'activations' and row.activations:
            yield 'activations [M]', f'{row.activations / 1e6:.2f}', f'{figure:.2f}', None
        elif row.scores.get(name):
            psnr = row.scores[name]['psnr']
            yield name, f'{psnr:.2f}', f'{figure:.2f}', round(psnr - figure, 2) + 0.0


def _beside_published(benchmark: Benchmark, of: dict[str, Entry]) -> list[str]:
    """Where each checkpoint is from, and what was published of it beside what was measured."""
    rows = []
    for row in benchmark.rows:
        if not (entry := of.get(row.title)):
            continue
        texts, large = [], False
        for what, measured, figure, difference in _differences(row, entry):
            large |= difference is not None and abs(difference) > EXPLAINED
            texts.append(f'{what}: {measured}, published {figure}' + ('' if difference is None else f' ({difference:+.2f})'))
        if 'validation' in entry.published:
            texts.append(f'on the challenge\'s validation images, which are not tested here, {entry.published["validation"]:.2f}')
        remark = entry.reason or ('unexplained' if large else '')
        rows.append([row.title, entry.source, ('; '.join(texts) or 'none found for this checkpoint')
                     + (f'; why they differ: {remark}' if remark else '')])
    return _table(['network', 'checkpoint from', 'measured beside published'], rows)


def page(benchmarks: list[Benchmark], of: dict[tuple[str, int], Entry], absent: list[str]) -> str:
    """docs/leaderboard.md."""
    lines = ['# Leaderboard of efficient super-resolution', '',
             '<!-- parse: it takes an hour -->', '```', 'make leaderboard', '```', '',
             'This command measures every network here on the same images by the same rules, on one machine, with torch\'s own '
             'layers, and writes this page. The best PSNR on B100 comes first. '
             '[What the columns are](compare.md#what-the-columns-are).', '',
             'It needs the sets (`vapsr data fetch Set5 Set14 B100`), and downloads code and checkpoints; `make leaderboard '
             'REPOSITORIES=DIR` takes them from clones, DIR/OWNER/NAME. In a fresh clone of this project it takes an hour; later '
             'only what is new or changed is measured. Where rows of this page cannot be measured, the page stays, and what was '
             'measured goes to results/leaderboard/leaderboard.md.', '']
    for benchmark in sorted(benchmarks, key=lambda one: -one.scale):
        titles = {name: entry for (name, scale), entry in of.items() if scale == benchmark.scale}
        images = sorted(OUT.glob(f'psnr_*{benchmark.suffix}.png'))
        plots = [f'![PSNR over {image.stem.split("_")[1]} at x{benchmark.scale}](leaderboard_{image.name})' for image in images]
        lines += [f'## x{benchmark.scale}', '', *_measured(benchmark, titles), '', *plots, '',
                  '### Checkpoints, and what was published' if benchmark.scale == 4 else
                  f'### Checkpoints at x{benchmark.scale}, and what was published', '', *_beside_published(benchmark, titles)]
    if absent:
        lines += ['## Left out', '', *(f'- {sentence}' for sentence in absent), '']
    lines += ['## How it is measured', '', f'{measured_on(benchmarks[-1])}.', '', *NOTES, '']
    if untimed := [f'x{one.scale}' for one in benchmarks if not any(row.latency for row in one.rows)]:
        lines += [f'Latency and memory at {" and ".join(untimed)} were not measured: with an input of one size, they differ from '
                  f'those at another scale by the upsampling layers alone.', '']
    lines += [
              'Published figures are those of the paper or repository of the checkpoint. PSNR and SSIM are on Y, converted as '
              'MATLAB\'s `rgb2ycbcr` does, with a border of the scale left out.', '',
              '## Add a network', '',
              'Three lines in [leaderboard.yml](../benchmarks/leaderboard.yml), and `make leaderboard`:', '',
              '```yaml', '- name: Mine', '  code: my_network.py:MyNetwork', '  weights: my_network.pth', '```', '',
              '`options:` holds the arguments of the class, `scale:` another scale than 4. Files of a GitHub repository have '
              '`repository:`, with its commit under `repositories` and the files\' SHA-256 under `sums`. A class that takes '
              'images in [0, 255] has `options: {img_range: 255}`.', '']
    return '\n'.join(lines)


def _rows(text: str) -> set[tuple[str, str]]:
    """The rows of a page that have figures of a set: scale and network."""
    return {(scale, name) for scale, section in re.findall(r'^## (x\d+)$(.*?)(?=^##|\Z)', text, re.MULTILINE | re.DOTALL)
            for name in re.findall(r'^\| ([^|]+) \|.* / 0\.\d{4} \|', section, re.MULTILINE)}


def _write(text: str) -> Path:
    """Writes the page and its plots: to docs, or to `OUT` where rows that are there would be lost."""
    target = PAGE
    if PAGE.is_file() and (lost := _rows(PAGE.read_text(encoding='utf-8')) - _rows(text)):
        target = OUT / PAGE.name
        print(f'{PAGE} stays: {len(lost)} of its rows could not be measured here, such as {" ".join(min(lost)[::-1])}')
    for image in OUT.glob('psnr_*.png'):  # others may lie there, of an earlier run with fewer scales
        if f'leaderboard_{image.name}' in text:
            shutil.copyfile(image, target.with_name(f'leaderboard_{image.name}'))
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return target


def main(clones: Path | None) -> None:
    data = yaml.safe_load(DATA.read_text(encoding='utf-8'))
    found = list(entries(data, clones))
    absent = [entry for entry in found if isinstance(entry, str)]
    of = {(entry.name, entry.scale): entry for entry in found if isinstance(entry, Entry)}
    for sentence in absent:
        print(f'left out: {sentence}')
    benchmarks = read_benchmarks([entry.option_file for entry in of.values()], OUT, Wishes(timed=data.get('timed')))
    for benchmark in benchmarks:
        benchmark.run()
    write_report(benchmarks)
    missing = [name for name in SETS if not all(name in benchmark.sets for benchmark in benchmarks)]
    absent += [f'{name}: its images are not under datasets/ (`vapsr data fetch {name}`)' for name in missing]
    print(f'{_write(page(benchmarks, of, absent))} written')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repositories', type=Path, metavar='DIR')
    try:
        main(parser.parse_args().repositories)
    except VapsrError as error:
        sys.exit(str(error))
