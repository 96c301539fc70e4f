"""One network of a benchmark: its option file, BasicSR's test loop in a process of its own, and what the network costs.

What is measured is kept in `DIR/networks/`, `NAME.scores.json` and `NAME.cost.json`, and not measured again while all that it
depends on is the same.
"""

import csv
import functools
import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml
from torch import Tensor, nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.self_ensemble import self_ensembled
from vapsr_arch.downloads import file_sum
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.metrics.measure import measure
from vapsr_arch.options.roots import change_roots, expanded
from vapsr_arch.pipeline.networks import SPANDREL, build_network
from vapsr_arch.pipeline.plugins import load_plugins, names_class_of_file
from vapsr_arch.report import cost
from vapsr_arch.report.benchmark_sets import BenchmarkSet
from vapsr_arch.report.children import ending, run_child
from vapsr_arch.report.records import Record, code_state, cost_code, data_state
from vapsr_arch.report.row import Row, reason_of
from vapsr_arch.weights.names import how_to_download
from vapsr_arch.weights.networks import load_into

_PASSES = 8  # of a self-ensemble


class SelfEnsembled(nn.Module):
    """A network whose outputs are the means over eight flips and rotations of the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_in_ch: int = getattr(network, 'num_in_ch', 3)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales N x C x H x W."""
        return self_ensembled(self.network, x)


def build_as_tested(plugins: Sequence[str], network_g: dict[str, Any], self_ensemble: bool) -> nn.Module:
    """The network of an option file with random weights, in any process."""
    load_plugins(plugins)
    network = build_network(network_g)
    return SelfEnsembled(network) if self_ensemble else network


def _absolute(path: str) -> str:
    return str(Path(expanded(path)).resolve())


class NetworkTest:
    """An option file in a benchmark.

    Args:
        option_file: Its path.
        options: What it says, read and checked, with the sets that are there.
        out: The benchmark's folder.
        title: What its row is called; by default by the option file's name, without `test_` and the scale.
    """

    def __init__(self, option_file: str, options: dict[str, Any], out: Path, title: str | None = None) -> None:
        self.option_file = option_file
        self.options = options
        self.out = out
        self.scale: int = options['scale']
        self.title = title or options['name'].removeprefix('test_').removesuffix(f'_x{self.scale}')
        # Two scales may have the same name in their option files; their files lie in one folder.
        self.options['name'] = options['name'].removesuffix(f'_x{self.scale}') + f'_x{self.scale}'

    def self_ensembled(self) -> 'NetworkTest':
        """The same network as NAME+, tested with the mean over eight flips and rotations."""
        options = deepcopy(self.options)
        options['name'] = f'{options["name"].removesuffix(f"_x{self.scale}")}+_x{self.scale}'
        options['val']['self_ensemble'] = True
        return NetworkTest(self.option_file, options, self.out, f'{self.title}+')

    @property
    def sets(self) -> list[dict[str, Any]]:
        return list(self.options['datasets'].values())

    @property
    def checkpoint(self) -> str:
        return self.options['path'].get('pretrain_network_g') or ''

    @property
    def is_self_ensemble(self) -> bool:
        return bool(self.options['val'].get('self_ensemble'))

    def image_path(self, set_name: str, image: str) -> Path:
        """Where the upscaled image of a set lies after the test: PNG."""
        name = self.options['name']
        return self.out / 'results' / name / 'visualization' / set_name / f'{image}_{name}.png'

    def build(self) -> nn.Module:
        """The network with its weights, in eval mode, as it is tested; random ones where the option file names none.

        Raises:
            VapsrError: The checkpoint is missing or does not fit.
        """
        network = build_network(self._network_g())
        path = self.options['path']
        if self.checkpoint and self.options['network_g']['type'] != SPANDREL:
            load_into(network, self.checkpoint, path.get('param_key_g'), path.get('strict_load_g', True))
        return network.eval().to(memory_format=torch.channels_last)

    def no_checkpoint(self) -> str:
        """A sentence for a checkpoint that is not there."""
        how = how_to_download(self.checkpoint)
        return f'there is no checkpoint {self.checkpoint}' + (f': {how}' if how else '')

    def _network_g(self) -> dict[str, Any]:
        """`network_g` with absolute paths, from which any process can build the network."""
        network_g = dict(self.options['network_g'])
        if network_g['type'] == SPANDREL:
            network_g['checkpoint'] = _absolute(self.checkpoint)
        if names_class_of_file(network_g['type']):
            network_g['type'] = _absolute(network_g['type'])
        return network_g

    def _plugins(self) -> list[str]:
        return [_absolute(plugin) if plugin.endswith('.py') or '/' in plugin else plugin
                for plugin in self.options.get('plugins', [])]

    def run(self, device: str, machine: str, sets: dict[str, BenchmarkSet], say: Callable[[str], None],
            is_timed: bool = True) -> Row:
        """Tests and measures the network, as far as that was not done before.

        Args:
            device: `cpu` or `cuda`.
            machine: The name of the CPU or GPU, on which costs depend.
            sets: The benchmark's sets by name.
            say: Takes a line of progress.
            is_timed: Whether latency and memory are measured.

        Returns:
            The row, with the reason for each cell that is empty.
        """
        row = Row(self.title, self.scale, self.options['network_g']['type'], self.option_file,
                  self_ensemble=self.is_self_ensemble)
        own = {dataset['name'] for dataset in self.sets}
        row.absent |= {name: f'{self.option_file} does not have this set' for name in sets if name not in own}
        common: dict[str, Any] = {'network': self.options['network_g'], 'device': device, 'self-ensemble': self.is_self_ensemble}
        try:
            common |= code_state(self.options)
            if self.checkpoint and Path(self.checkpoint).is_file():
                row.weights = {'path': self.checkpoint, 'sha256': file_sum(Path(self.checkpoint), 'sha256')}
            say(f'{self.title}: {", ".join(own)}')
            self._score(row, device, common, sets)
        except Exception as error:  # whatever one network does, the others are measured
            row.failures |= {name: reason_of(error) for name in own if name not in row.scores}
        say(f'{self.title}: cost')
        self._measure_cost(row, device, {**common, 'weights': row.weights and row.weights['sha256'], 'machine': machine,
                                         'threads': torch.get_num_threads(), 'measured by': cost_code()}, is_timed)
        return row

    def _score(self, row: Row, device: str, common: dict[str, Any], sets: dict[str, BenchmarkSet]) -> None:
        if not self.checkpoint:
            row.absent |= {dataset['name']: 'no checkpoint (path.pretrain_network_g is not set)' for dataset in self.sets}
            return
        if not row.weights:
            raise VapsrError(self.no_checkpoint())
        record = Record(self.out / 'networks' / f'{self.options["name"]}.scores.json', {
            **common, 'weights': row.weights['sha256'], 'options': self.options,
            'data': [data_state(dataset) for dataset in self.sets]})
        if not all(self.image_path(set_name, name).is_file() for set_name, names in record.measured.get('images', {}).items()
                   for name in names):
            record.forget('images')

        def take(images: dict[str, dict[str, dict[str, float]]]) -> None:
            for set_name, of_set in images.items():
                row.take_images(set_name, of_set)
                row.files[set_name] = {name: str(self.image_path(set_name, name)) for name in of_set}

        def test() -> dict[str, dict[str, dict[str, float]]]:
            child = self._test(device)
            images = self._results(sets, complete=not child.returncode)
            if child.returncode:
                take(images)
                raise VapsrError(ending(child))
            return images
        take(record.take('images', test))

    def _test(self, device: str) -> Any:
        """BasicSR's test loop, `vapsr test` in the benchmark's folder, in a process that may die."""
        options = self._resolved()
        options['num_gpu'] = 1 if device == 'cuda' else 0
        option_file = self.out / 'options' / f'{self.options["name"]}.yml'
        with written_whole(option_file) as path:
            path.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
        shutil.rmtree(self.out / 'results' / self.options['name'], ignore_errors=True)  # BasicSR would rename and keep it
        return run_child('from vapsr_arch.cli import main; main()', ('test', '-opt', option_file.relative_to(self.out)), self.out)

    def _resolved(self) -> dict[str, Any]:
        """The options with absolute paths, saving its images."""
        options = json.loads(json.dumps(self.options))
        for dataset in options['datasets'].values():
            change_roots(dataset, _absolute)
            if isinstance(dataset.get('meta_info_file'), str):
                dataset['meta_info_file'] = _absolute(dataset['meta_info_file'])
        options['network_g']['type'] = self._network_g()['type']
        if 'plugins' in options:
            options['plugins'] = self._plugins()
        for key in [key for key in options['path'] if key.startswith('pretrain_network_')]:
            options['path'][key] = _absolute(options['path'][key])
        options['val'] |= {'save_img': True, 'suffix': None}
        return options

    def _results(self, sets: dict[str, BenchmarkSet], complete: bool) -> dict[str, dict[str, dict[str, float]]]:
        """What the test made of each set that it came to: metrics by image.

        VapSRModel writes a table when a set is done; where a third-party model writes none, its images are measured.
        """
        found = {}
        for dataset in self.sets:
            name = dataset['name']
            table = self.out / 'results' / self.options['name'] / f'{name}.csv'
            if table.is_file():
                with open(table, newline='') as file:
                    found[name] = {row.pop('image'): {metric: float(value) for metric, value in row.items()}
                                   for row in csv.DictReader(file)}
            elif complete:
                images = (sets[name][index] for index in range(len(sets[name])))
                found[name] = {image.name: measure(cv2.imread(str(self.image_path(name, image.name))), image.hr,
                                                   self.options['val'].get('metrics', {})) for image in images}
        return found

    def _measure_cost(self, row: Row, device: str, fingerprint: dict[str, Any], is_timed: bool) -> None:
        """Measures each cost by itself: one that fails leaves the others."""
        record = Record(self.out / 'networks' / f'{self.options["name"]}.cost.json', fingerprint)
        network_g, plugins, passes = self._network_g(), self._plugins(), _PASSES if self.is_self_ensemble else 1
        # A process that builds a third-party network imports BasicSR and their plugins; one of ours is simply handed over.
        handed_over = network_g['type'] in NETWORKS and not plugins and not self.is_self_ensemble
        build = functools.partial(build_as_tested, plugins, network_g, self.is_self_ensemble)

        @functools.cache
        def network() -> nn.Module:
            try:
                return self.build()
            except VapsrError:  # what a network costs does not depend on a checkpoint that is missing or does not fit
                return build_network(network_g)

        def timed() -> float:
            return cost.latency(SelfEnsembled(network()) if self.is_self_ensemble else network(), device=device).seconds

        costs: dict[str, Callable[[], Any]] = {
            'parameters': lambda: cost.num_parameters(network()),
            'multi_adds': lambda: passes * cost.multi_adds(network(), self.scale),
            'activations': lambda: passes * cost.activations(network())}
        if is_timed:
            costs |= {'latency': timed, 'memory': lambda: cost.peak_memory(network() if handed_over else build, device=device)}
        for name, measure_it in costs.items():
            try:
                setattr(row, name, record.take(name, measure_it))
            except Exception as error:  # whatever one network does, the others are measured
                row.failures[name] = reason_of(error)
        if is_timed and row.memory is None and 'memory' not in row.failures:
            row.absent['memory'] = "this system does not report a process's peak"
