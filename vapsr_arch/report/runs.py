"""One network of a benchmark: its option file, BasicSR's test loop in a process of its own, and what was measured.

What is measured is kept in `DIR/networks/NAME.json` under a fingerprint of all it depends on, and not measured again while
that is the same.
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
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

import vapsr_arch
from vapsr_arch.archs import AUTHORS_NAMES, NETWORKS
from vapsr_arch.checkpoints import load_into
from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.metrics import cost
from vapsr_arch.plugin import registered


@dataclasses.dataclass
class Run:
    """A row of the table.

    Attributes:
        title: What the row is called: VapSR-S.
        scale: The scale.
        network: `network_g.type`, or None for bicubic.
        option_file: The option file as it was named.
        weights: The checkpoint and its sha256.
        parameters, multi_adds, activations: Of the network; see `vapsr_arch.metrics.cost`.
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


def sha256(path: str | Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') \
            else hashlib.sha256(file.read()).hexdigest()  # Python 3.10


@functools.cache
def _code() -> str:
    """The sources that the figures come from: an edited network is a changed one."""
    package = Path(vapsr_arch.__file__).parent
    sources = (path for folder in ('archs', 'data', 'metrics', 'models') for path in sorted((package / folder).glob('*.py')))
    sums = ''.join(map(sha256, sources))
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


def recall(out: Path, title: str, fingerprint: Mapping[str, Any]) -> Run | None:
    """What was measured before under the same fingerprint, if its images are still there."""
    try:
        record = json.loads((out / 'networks' / f'{title}.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    # Through JSON, where tuples are lists.
    if record.get('fingerprint') != json.loads(json.dumps(fingerprint)):
        return None
    if any(not Path(path).is_file() for path in record['files']):
        return None
    return Run(**record['run'])


def remember(out: Path, run: Run, fingerprint: Mapping[str, Any], files: list[Path]) -> None:
    """Keeps what was measured for `recall`."""
    record = {'fingerprint': fingerprint, 'files': [str(file) for file in files], 'run': dataclasses.asdict(run)}
    with written_whole(out / 'networks' / f'{run.title}.json') as path:
        path.write_text(json.dumps(record, indent=1), encoding='utf-8')


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
        arguments = dict(self.options['network_g'])
        name = arguments.pop('type')
        # A second name's class is made at run time, and cannot be handed to the process that measures memory.
        network = {**registered(ARCH_REGISTRY), **NETWORKS}[AUTHORS_NAMES.get(name, name)](**arguments)
        path = self.options['path']
        load_into(network, self.checkpoint, path.get('param_key_g'), path.get('strict_load_g', True))
        return network.eval().to(memory_format=torch.channels_last)

    def fingerprint(self, device: str) -> dict[str, Any]:
        """All that the figures depend on."""
        return {'options': self.options, 'weights': sha256(self.checkpoint), 'code': _code(), 'torch': torch.__version__,
                'data': [data_state(dataset) for dataset in self.sets], 'device': device, 'threads': torch.get_num_threads()}

    def run(self, device: str, say: Callable[[str], None]) -> Run:
        """Tests and measures the network, or recalls what was measured.

        Args:
            device: `cpu` or `cuda`.
            say: Takes a line of progress.

        Returns:
            The row; with `failure` set and as much else as is known where something went wrong.
        """
        row = Run(self.title, self.scale, self.options['network_g']['type'], self.option_file)
        try:
            if not Path(self.checkpoint).is_file():
                raise VapsrError(f'there is no checkpoint {self.checkpoint or "(path.pretrain_network_g is not set)"}')
            fingerprint = self.fingerprint(device)
            known = recall(self.out, self.title, fingerprint)
            if known:
                say(f'{self.title}: unchanged, not run again')
                known.option_file = self.option_file
                return known
            row.weights = {'path': self.checkpoint, 'sha256': fingerprint['weights']}
            say(f'{self.title}: {", ".join(dataset["name"] for dataset in self.sets)}')
            self._test(device)
            row.images = {dataset['name']: self._read(dataset['name']) for dataset in self.sets}
            row.scores = {name: means(images) for name, images in row.images.items() if images}
            say(f'{self.title}: cost')
            self._measure_cost(row, device)
        except Exception as error:  # whatever one network does, the others are measured
            row.failure = str(error).splitlines()[0] if str(error) else type(error).__name__
            return row
        remember(self.out, row, fingerprint,
                 [self.image_path(name, image) for name, images in row.images.items() for image in images])
        return row

    def _test(self, device: str) -> None:
        """BasicSR's test loop, `vapsr test` in the benchmark's folder, in a process that may die."""
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

    def _measure_cost(self, row: Run, device: str) -> None:
        network = self.build()
        row.parameters = cost.num_parameters(network)
        row.multi_adds = cost.multi_adds(network, self.scale)
        row.activations = cost.activations(network)
        row.latency = cost.latency(network, device=device).seconds
        row.memory = cost.peak_memory(network, device=device)
