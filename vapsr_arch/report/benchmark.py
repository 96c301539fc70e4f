"""A benchmark: several networks, tested on the same sets by the same rules, and measured on this machine."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.metrics.measure import measure, prepare_metrics
from vapsr_arch.models.optimization import FastSRModel
from vapsr_arch.options.faults import nearest
from vapsr_arch.options.reading import load_options
from vapsr_arch.pipeline.checks import check_types, model_class
from vapsr_arch.pipeline.plugins import load_plugins
from vapsr_arch.pipeline.prepared import missing_root
from vapsr_arch.report.benchmark_sets import BenchmarkSet
from vapsr_arch.report.image_row import ImageRow
from vapsr_arch.report.machine import describe_machine
from vapsr_arch.report.network_test import NetworkTest
from vapsr_arch.report.published import read_rows
from vapsr_arch.report.records import Record
from vapsr_arch.report.row import Row


class OwnSet(NamedTuple):
    """Images to test on in place of the option files' sets."""

    name: str
    hr_folder: Path
    lr_folder: Path


@dataclasses.dataclass
class Wishes:
    """What a benchmark is asked for beyond its option files.

    Attributes:
        device: `cpu`, `cuda` or `auto`.
        own_set: Images to test on in place of the option files' sets.
        plugins: Modules and files to import beside those that the option files name.
        self_ensemble: Whether each network gets a second row, NAME+: the mean over eight flips and rotations.
        folders: Titles and folders of images that other methods upscaled.
        published: YAML files of published figures.
        highlight: Titles of the networks to show in the accent colour; empty for VapSR's.
        timed: The scales at which latency and memory are measured; None for all.
    """

    device: str = 'auto'
    own_set: OwnSet | None = None
    plugins: Sequence[str] = ()
    self_ensemble: bool = False
    folders: Sequence[tuple[str, Path]] = ()
    published: Sequence[Path] = ()
    highlight: Sequence[str] = ()
    timed: Sequence[int] | None = None


def _agree(tests: list[NetworkTest]) -> None:
    """Refuses what cannot stand in one table."""
    first = tests[0]
    titles: dict[str, str] = {}
    for test in tests:
        if test.title in titles:
            raise OptionsError(f'{titles[test.title]} and {test.option_file} are both called {test.title}: give one another '
                               f'name')
        titles[test.title] = test.option_file
    for test in tests[1:]:
        if test.options['val'].get('metrics') != first.options['val'].get('metrics'):
            raise OptionsError(f'{first.option_file} and {test.option_file} measure differently (val.metrics): their figures '
                               f'could not be compared')
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for test in tests:
        for dataset in test.sets:
            option_file, other = known.setdefault(dataset['name'], (test.option_file, dataset))
            if dataset != other:
                raise OptionsError(f'{option_file} and {test.option_file} name different images {dataset["name"]}: give one '
                                   f'set another name')


def _section(own_set: OwnSet) -> dict[str, Any]:
    section = {'name': own_set.name, 'type': 'PairedImageDataset', 'dataroot_gt': str(own_set.hr_folder),
               'dataroot_lq': str(own_set.lr_folder), 'io_backend': {'type': 'disk'}}
    if missing := missing_root(section):
        raise VapsrError(f'--set {own_set.name}: there is no {missing}')
    return section


def _with_self_ensembles(tests: list[NetworkTest]) -> list[NetworkTest]:
    """Each network's row, and after it that of its self-ensemble."""
    result = []
    for test in tests:
        result.append(test)
        if not issubclass(model_class(test.options['model_type']), FastSRModel):
            print(f'{test.title}: no row {test.title}+, for its {test.options["model_type"]} knows no self-ensemble')
        elif not test.is_self_ensemble:
            result.append(test.self_ensembled())
    return result


def read_tests(option_files: Sequence[str | Path], out: Path, wishes: Wishes) -> list[NetworkTest]:
    """Reads the option files of a benchmark; sets that are not there are left out, and a line says so.

    Raises:
        OptionsError: An option file has faults, or those of one scale do not go together: two ways to measure, one name twice.
        VapsrError: Not one set is there, or the own set is not; or a plugin cannot be imported.
    """
    tests, absent = [], {}
    for option_file in option_files:
        options = load_options(option_file, is_train=False)
        if wishes.plugins:
            options['plugins'] = [*options.get('plugins', []), *wishes.plugins]
        load_plugins(options.get('plugins', []))
        check_types(option_file, options)
        prepare_metrics(options['val'].get('metrics', {}))
        if wishes.own_set:
            options['datasets'] = {'test': _section(wishes.own_set)}
        for phase, dataset in list(options['datasets'].items()):
            missing = missing_root(dataset)
            if missing or dataset['type'] == 'SingleImageDataset':
                absent[dataset['name']] = f'there is no {missing}' if missing else 'it has no HR images'
                del options['datasets'][phase]
        tests.append(NetworkTest(str(option_file), options, out))
    for name, reason in absent.items():
        print(f'{name} is left out: {reason}')
    if not any(test.sets for test in tests):
        raise VapsrError(f'not one set of the option files is there ({"; ".join(absent.values())}): `vapsr data fetch` '
                         f'downloads the public ones')
    return tests


def read_benchmarks(option_files: Sequence[str | Path], out: Path, wishes: Wishes | None = None) -> list['Benchmark']:
    """Reads what is to be measured.

    Args:
        option_files: Test option files.
        out: The benchmarks' folder.
        wishes: What is asked for beyond them.

    Returns:
        A benchmark a scale, the smallest first.

    Raises:
        OptionsError: The option files or the published figures have faults, or do not go together; or there is no row of a
            name that is to be highlighted.
        VapsrError: The images of a set do not fit, there is not one set, no such folder or no GPU; or a plugin fails.
    """
    wishes = wishes or Wishes()
    if wishes.device == 'cuda' and not torch.cuda.is_available():
        raise VapsrError('--device cuda: torch finds no CUDA GPU here')
    tests = read_tests(option_files, out, wishes)
    scales = sorted({test.scale for test in tests})
    if wishes.own_set and len(scales) > 1:
        raise OptionsError(f'--set {wishes.own_set.name}: its LR images are of one scale, the option files of '
                           f'{" and ".join(f"x{scale}" for scale in scales)}')
    rows = [row for path in wishes.published for row in read_rows(path)]
    for row in rows:
        if row.scale not in scales:
            print(f'{row.label} is left out: it is for x{row.scale}')
    benchmarks = []
    for scale in scales:
        of_scale = [test for test in tests if test.scale == scale]
        _agree(of_scale)
        if wishes.self_ensemble:
            of_scale = _with_self_ensembles(of_scale)
        images = [ImageRow(title, folder, scale) for title, folder in wishes.folders]
        benchmarks.append(Benchmark(of_scale, images, [row for row in rows if row.scale == scale], out, wishes,
                                    suffix=f'_x{scale}' if len(scales) > 1 else ''))
    titles = {title for benchmark in benchmarks for title in benchmark.titles}
    for title in wishes.highlight:
        if title not in titles:
            raise OptionsError(f'--highlight {title}: no row is called that{nearest(title, titles)}')
    return benchmarks


class Benchmark:
    """Networks of one scale, on the sets that are there.

    Args:
        tests: The option files.
        images: Folders of images that other methods upscaled.
        published: Rows of published figures.
        out: The folder.
        wishes: What is asked for beyond the option files.
        suffix: What the names of the files end in that are made of each scale.

    Attributes:
        sets: The sets that are there, by name.
        rows: The rows, after `run`: bicubic, a network an option file, images of other methods, published figures.
        machine: Where, and with which versions.

    Raises:
        OptionsError: Two rows have the same name.
        VapsrError: The images of a set do not fit.
    """

    def __init__(self, tests: list[NetworkTest], images: list[ImageRow], published: list[Row], out: Path, wishes: Wishes,
                 suffix: str = '') -> None:
        self.tests, self.images, self.published = tests, images, published
        self.out, self.suffix = out, suffix
        self.highlight = frozenset(wishes.highlight)
        self._is_timed = wishes.timed is None or self.scale in wishes.timed
        self.device = wishes.device if wishes.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
        titles = ['bicubic', *(test.title for test in tests), *(row.title for row in images)]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice:
            raise OptionsError(f'two rows are called {twice}: give one another name')
        self.titles = [*titles, *(row.title for row in published)]
        self._sections = {dataset['name']: dataset for test in tests for dataset in test.sets}
        self.sets = {name: BenchmarkSet(section, self.scale) for name, section in self._sections.items()}
        self.rows: list[Row] = []
        self.machine = describe_machine(self.device)

    @property
    def scale(self) -> int:
        return self.tests[0].scale

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """What is measured of an image: `val.metrics` of the option files."""
        return self.tests[0].options['val'].get('metrics', {})

    @property
    def networks(self) -> list[tuple[NetworkTest, Row]]:
        """The networks with their rows."""
        return list(zip(self.tests, self.rows[1:]))

    def run(self) -> None:
        """Tests the networks, measures what they cost, and scores the images of other methods.

        What is unchanged since it was last measured into the same folder is not measured again.
        """
        for test in self.tests:  # at once, for measuring takes long
            if test.checkpoint and not Path(test.checkpoint).is_file():
                print(f'{test.title}: {test.no_checkpoint()}; what it costs is measured all the same', file=sys.stderr)
        self.rows = [self._bicubic()]
        with tqdm(self.tests, unit='network') as progress:
            for test in progress:
                self.rows.append(test.run(self.device, str(self.machine['device']), self.sets, progress.set_description,
                                          self._is_timed))
        self.rows += [images.run(self.sets, self.metrics, self.out / 'networks') for images in self.images]
        self.rows += self.published

    def _bicubic(self) -> Row:
        """Bicubic upscaling, MATLAB's."""
        row = Row('bicubic', self.scale)
        fingerprint = {'scale': self.scale, 'metrics': self.metrics, 'data': {name: s.state for name, s in self.sets.items()}}
        record = Record(self.out / f'networks/bicubic_x{self.scale}.scores.json', fingerprint)
        for name, images in self.sets.items():
            row.take_images(name, record.take(name, lambda images=images: {
                image.name: measure(image.bicubic, image.hr, self.metrics)
                for image in (images[index] for index in range(len(images)))}))
        return row


def write_results(benchmarks: Sequence[Benchmark], path: Path) -> None:
    """Writes all that was measured, the machine, the versions and the options as JSON."""
    rows = [{key: value for key, value in dataclasses.asdict(row).items() if key != 'files'}
            for benchmark in benchmarks for row in benchmark.rows]
    options: dict[str, Any] = {}
    for benchmark in benchmarks:
        for test in benchmark.tests:
            options.setdefault(test.option_file, test.options)
    results = {'machine': benchmarks[0].machine, 'networks': rows, 'options': options}
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1), encoding='utf-8')
