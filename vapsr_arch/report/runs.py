"""One network of a benchmark: its option file, BasicSR's test loop in a process of its own, and what was measured.

What is measured is kept in `DIR/networks/`, `NAME.scores.json` and `NAME.cost.json`, each with a fingerprint of all that it
depends on, and not measured again while that is the same.
"""

import csv
import dataclasses
import functools
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

import vapsr_arch
from vapsr_arch.downloads import file_sum
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.pipeline.networks import build_network
from vapsr_arch.report import cost
from vapsr_arch.weights.networks import load_into


@dataclasses.dataclass
class Run:
    """A row of the table.

    Attributes:
        title: What the row is called: VapSR-S.
        scale: The scale.
        network: `network_g.type`, or None for bicubic.
        option_file: The option file as it was named.
        weights: The checkpoint and its sha256.
        parameters, multi_adds, activations: Of the network; see `vapsr_arch.report.cost`.
        latency: Seconds, the median at 320x180 input.
        memory: Bytes, the peak at 320x180 input.
        scores: A metric's mean over a set: `scores['Set5']['psnr']`.
        images: A metric by image: `images['Set5']['baby']['psnr']`.
        failure: Why there are no scores.
    """

    title: str
    scale: int
    network: str | None = None
    option_file: str | None = None
    weights: dict[str, str] | None = None
    parameters: int | None = None
    multi_adds: int | None = None
    activations: int | None = None
    latency: float | None = None
    memory: int | None = None
    scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    images: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
    failure: str | None = None


def means(images: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each metric's mean over a set's images."""
    rows = list(images.values())
    return {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}


@functools.cache
def _code() -> str:
    """The sources that the figures come from: an edited network is a changed one."""
    package = Path(vapsr_arch.__file__).parent
    sources = (path for folder in ('archs', 'data', 'metrics', 'models') for path in sorted((package / folder).glob('*.py')))
    sums = ''.join(file_sum(path, 'sha256') for path in sources)
    return hashlib.sha256(sums.encode()).hexdigest()


def data_state(dataset: Mapping[str, Any]) -> dict[str, list]:
    """What tells whether a set's files have changed: name, size and time of each."""
    state = {}
    for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file'):
        if key in dataset:
            root = Path(dataset[key])
            files = sorted(root.iterdir()) if root.is_dir() else [root]
            state[key] = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return state


def kept(path: Path, fingerprint: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before under the same fingerprint, or else is measured now.

    Args:
        path: The JSON file that keeps it.
        fingerprint: All that it depends on.
        measure: Measures it.
    """
    fingerprint = json.loads(json.dumps(fingerprint))  # tuples become lists, as they do in the file
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        record = {}
    if record.get('fingerprint') == fingerprint:
        return record['measured']
    measured = measure()
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps({'fingerprint': fingerprint, 'measured': measured}, indent=1), encoding='utf-8')
    return measured


class NetworkTest:
    """An option file in a benchmark.

    Args:
        option_file: Its path.
        options: What it says, read and checked, with the sets that are there.
        out: The benchmark's folder.
    """

    def __init__(self, option_file: str, options: dict[str, Any], out: Path) -> None:
        self.option_file = option_file
        self.options = options
        self.out = out
        self.scale: int = options['scale']
        self.title = options['name'].removeprefix('test_').removesuffix(f'_x{self.scale}')

    @property
    def sets(self) -> list[dict[str, Any]]:
        return list(self.options['datasets'].values())

    @property
    def checkpoint(self) -> str:
        return self.options['path'].get('pretrain_network_g', '')

    def image_path(self, set_name: str, image: str) -> Path:
        """Where the enlarged image of a set lies after the test: PNG."""
        name = self.options['name']
        return self.out / 'results' / name / 'visualization' / set_name / f'{image}_{name}.png'

    def build(self) -> nn.Module:
        """The network with its weights, in eval mode, as it is tested.

        Raises:
            VapsrError: The checkpoint is missing or does not fit.
        """
        network = build_network(self.options['network_g'])
        path = self.options['path']
        load_into(network, self.checkpoint, path.get('param_key_g'), path.get('strict_load_g', True))
        return network.eval().to(memory_format=torch.channels_last)

    def run(self, device: str, say: Callable[[str], None]) -> Run:
        """Tests and measures the network, as far as that was not done before.

        Args:
            device: `cpu` or `cuda`.
            say: Takes a line of progress.

        Returns:
            The row; with `failure` set and as much else as is known where something went wrong.
        """
        row = Run(self.title, self.scale, self.options['network_g']['type'], self.option_file)
        say(f'{self.title}: {", ".join(dataset["name"] for dataset in self.sets)}')
        try:
            if not Path(self.checkpoint).is_file():
                raise VapsrError(f'there is no checkpoint {self.checkpoint or "(path.pretrain_network_g is not set)"}')
            row.weights = {'path': self.checkpoint, 'sha256': file_sum(Path(self.checkpoint), 'sha256')}
            common = {'weights': row.weights['sha256'], 'network': self.options['network_g'], 'code': _code(),
                      'torch': torch.__version__, 'device': device}
            scores = {**common, 'options': self.options, 'data': [data_state(dataset) for dataset in self.sets]}
            records = self.out / 'networks'
            if not self._images_are_there(records):
                (records / f'{self.title}.scores.json').unlink(missing_ok=True)
            row.images = kept(records / f'{self.title}.scores.json', scores, lambda: self._test(device))
            row.scores = {name: means(images) for name, images in row.images.items() if images}
            say(f'{self.title}: cost')
            cost_of = {**common, 'threads': torch.get_num_threads()}
            for name, value in kept(records / f'{self.title}.cost.json', cost_of, lambda: self._cost(device)).items():
                setattr(row, name, value)
        except Exception as error:  # whatever one network does, the others are measured
            row.failure = str(error).splitlines()[0] if str(error) else type(error).__name__
        return row

    def _images_are_there(self, records: Path) -> bool:
        """Whether the enlarged images that the scores are of are still in the benchmark's folder."""
        try:
            images = json.loads((records / f'{self.title}.scores.json').read_text(encoding='utf-8'))['measured']
        except (OSError, ValueError, KeyError):
            return False
        return all(self.image_path(set_name, name).is_file() for set_name, names in images.items() for name in names)

    def _test(self, device: str) -> dict[str, dict[str, dict[str, float]]]:
        """BasicSR's test loop, `vapsr test` in the benchmark's folder, in a process that may die: metrics by image."""
        options = self._resolved()
        options['num_gpu'] = 1 if device == 'cuda' else 0
        option_file = self.out / 'options' / f'{self.options["name"]}.yml'
        with written_whole(option_file) as path:
            path.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
        shutil.rmtree(self.out / 'results' / self.options['name'], ignore_errors=True)  # BasicSR would rename and keep it
        process = subprocess.run([sys.executable, '-m', 'vapsr_arch.test', '-opt', option_file.relative_to(self.out)],
                                 cwd=self.out, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if process.returncode:
            lines = [line for line in process.stderr.splitlines() if line.strip()]
            told = [line.removeprefix('Error: ') for line in lines if line.startswith('Error: ')] or lines[-1:]
            killed = f'killed by signal {-process.returncode}' if process.returncode < 0 else ''
            raise VapsrError(killed or (told[0] if told else f'exit code {process.returncode}'))
        return {dataset['name']: self._read(dataset['name']) for dataset in self.sets}

    def _resolved(self) -> dict[str, Any]:
        """The options with absolute paths, saving its images."""
        options = json.loads(json.dumps(self.options))
        for dataset in options['datasets'].values():
            for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file'):
                if key in dataset:
                    dataset[key] = str(Path(dataset[key]).resolve())
        options['path']['pretrain_network_g'] = str(Path(self.checkpoint).resolve())
        options['val'] |= {'save_img': True, 'suffix': None}
        return options

    def _read(self, set_name: str) -> dict[str, dict[str, float]]:
        """What the test wrote of a set: its metrics by image."""
        with open(self.out / 'results' / self.options['name'] / f'{set_name}.csv', newline='') as file:
            return {row.pop('image'): {metric: float(value) for metric, value in row.items()}
                    for row in csv.DictReader(file)}

    def _cost(self, device: str) -> dict[str, float | int | None]:
        network = self.build()
        return {'parameters': cost.num_parameters(network), 'multi_adds': cost.multi_adds(network, self.scale),
                'activations': cost.activations(network), 'latency': cost.latency(network, device=device).seconds,
                'memory': cost.peak_memory(network, device=device)}
