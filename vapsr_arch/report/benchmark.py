"""A benchmark: several networks, tested on the same sets by the same rules, and measured on this machine."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.options.reading import load_options
from vapsr_arch.pipeline.checks import check_types
from vapsr_arch.report.benchmark_sets import BenchmarkSet, measure
from vapsr_arch.report.machine import describe_machine
from vapsr_arch.report.runs import NetworkTest, Run, data_state, kept, means


def _missing(dataset: dict[str, Any]) -> str | None:
    return next((dataset[key] for key in ('dataroot_gt', 'dataroot_lq') if key in dataset and not Path(dataset[key]).exists()),
                None)


def _agree(tests: list[NetworkTest]) -> None:
    """Refuses what cannot stand in one table."""
    first, *others = tests
    titles: dict[str, str] = {}
    for test in tests:
        if test.title in titles:
            raise OptionsError(f'{titles[test.title]} and {test.option_file} are both called {test.title}: give one another '
                               f'name')
        titles[test.title] = test.option_file
    for test in others:
        if test.scale != first.scale:
            raise OptionsError(f'{first.option_file} is for x{first.scale}, {test.option_file} for x{test.scale}: a benchmark '
                               f'is of one scale')
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


def read_tests(option_files: Sequence[str | Path], out: Path, own_set: tuple[str, Path, Path] | None = None
               ) -> list[NetworkTest]:
    """Reads the option files of a benchmark; sets that are not there are left out, and said so.

    Args:
        option_files: Test option files.
        out: The benchmark's folder.
        own_set: A name and folders of HR and LR images to test on in place of the option files' sets.

    Raises:
        OptionsError: An option file has faults, or they do not go together: two scales, two ways to measure, one name twice.
        VapsrError: Not one set is there, or the own set is not.
    """
    tests, absent = [], {}
    for option_file in option_files:
        options = load_options(option_file, is_train=False)
        check_types(option_file, options)
        if own_set:
            name, hr_folder, lr_folder = own_set
            options['datasets'] = {'test': {'name': name, 'type': 'PairedImageDataset', 'dataroot_gt': str(hr_folder),
                                            'dataroot_lq': str(lr_folder), 'io_backend': {'type': 'disk'}}}
            if missing := _missing(options['datasets']['test']):
                raise VapsrError(f'--set {name}: there is no {missing}')
        for phase, dataset in list(options['datasets'].items()):
            missing = _missing(dataset)
            if missing or dataset['type'] == 'SingleImageDataset':
                absent[dataset['name']] = f'there is no {missing}' if missing else 'it has no HR images'
                del options['datasets'][phase]
        tests.append(NetworkTest(str(option_file), options, out))
    for name, reason in absent.items():
        print(f'{name} is left out: {reason}')
    if not any(test.sets for test in tests):
        raise VapsrError(f'not one set of the option files is there ({"; ".join(absent.values())}): `vapsr data fetch` '
                         f'downloads the public ones')
    _agree(tests)
    return tests


class Benchmark:
    """Networks of test option files, on the sets that are there.

    Args:
        option_files: Test option files of one scale.
        out: The benchmark's folder.
        device: `cpu`, `cuda` or `auto`.
        own_set: A name and folders of HR and LR images to test on in place of the option files' sets.

    Attributes:
        tests: The option files.
        sets: The sets that are there, by name.
        runs: The rows, after `run`: bicubic, then a network an option file, in their order.
        machine: Where, and with which versions.

    Raises:
        OptionsError: The option files have faults or do not go together.
        VapsrError: The images of a set do not fit, there is not one set, or there is no GPU.
    """

    def __init__(self, option_files: Sequence[str | Path], out: Path, device: str = 'auto',
                 own_set: tuple[str, Path, Path] | None = None) -> None:
        if device == 'cuda' and not torch.cuda.is_available():
            raise VapsrError('--device cuda: torch finds no CUDA GPU here')
        self.out = out
        self.device = ('cuda' if torch.cuda.is_available() else 'cpu') if device == 'auto' else device
        self.tests = read_tests(option_files, out, own_set)
        self._sections = {dataset['name']: dataset for test in self.tests for dataset in test.sets}
        self.sets = {name: BenchmarkSet(section, self.scale) for name, section in self._sections.items()}
        self.runs: list[Run] = []
        self.machine = describe_machine(self.device)

    @property
    def scale(self) -> int:
        return self.tests[0].scale

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """What is measured of an image: `val.metrics` of the option files."""
        return self.tests[0].options['val'].get('metrics', {})

    @property
    def finished(self) -> list[tuple[NetworkTest, Run]]:
        """The networks that have scores."""
        return [(test, run) for test, run in zip(self.tests, self.runs[1:]) if not run.failure]

    def run(self) -> None:
        """Tests the networks, measures what they cost, and writes results.json.

        A network that is unchanged since it was last measured into the same folder is not run again. One that fails has
        the reason in its row.
        """
        self.runs = [self._bicubic()]
        with tqdm(self.tests, unit='network') as progress:
            for test in progress:
                self.runs.append(test.run(self.device, progress.set_description))
        results = {'machine': self.machine, 'networks': [dataclasses.asdict(run) for run in self.runs],
                   'options': {test.option_file: test.options for test in self.tests}}
        with written_whole(self.out / 'results.json') as path:
            path.write_text(json.dumps(results, indent=1), encoding='utf-8')

    def _bicubic(self) -> Run:
        """Bicubic enlarging, MATLAB's."""
        fingerprint = {'scale': self.scale, 'metrics': self.metrics,
                       'data': {name: data_state(section) for name, section in self._sections.items()}}
        run = Run('bicubic', self.scale)
        run.images = kept(self.out / 'networks/bicubic.scores.json', fingerprint, lambda: {
            name: {image.name: measure(image.bicubic, image.hr, self.metrics)
                   for image in (images[index] for index in range(len(images)))}
            for name, images in self.sets.items()})
        run.scores = {name: means(images) for name, images in run.images.items()}
        return run
