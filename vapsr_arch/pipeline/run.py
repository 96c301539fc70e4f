"""One run of training or testing: what the command line asked, what the option file says, and where the run stands.

An option file is read once, into a `Run`; `Run.begin` makes of it the dictionary that BasicSR's pipelines and models take, in
which the `Run` itself lies as `opt['run']`.
"""

import logging
import random
import shlex
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml

from vapsr_arch.data.epochs import EpochPlan
from vapsr_arch.errors import OptionsError
from vapsr_arch.metrics.measure import prepare_metrics
from vapsr_arch.options.faults import fault
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.roots import change_roots, expanded
from vapsr_arch.pipeline.checks import check_types, check_wandb, unchecked_keys
from vapsr_arch.pipeline.networks import SPANDREL, for_basicsr
from vapsr_arch.pipeline.plugins import load_plugins
from vapsr_arch.pipeline.processes import init_dist
from vapsr_arch.pipeline.registration import REPLACEMENTS


class Run:
    """What a command asked, and what the option file says; read and checked when it is made.

    Args:
        option_file: The option file.
        is_train: Whether it is for training or for testing.
        launcher: What started the processes: `none`, `pytorch` (torchrun) or `slurm`.
        auto_resume: Resume from the newest training state.
        debug: Log, save and validate all the time, under the name debug_NAME.
        force_yml: `KEY:KEY=VALUE` entries that are set first.
        plugins: Modules and files to import beside those that the option file names.

    Attributes:
        current: The run that BasicSR's pipeline is in, of this process.
        opt: The option file's path, under the name that BasicSR's pipelines ask for.
        options: The options, checked, with what was set on the command line and a seed, without what BasicSR adds.
        seed_given: Whether the option file has a `manual_seed`.
        resumed: Where a resumed run stands: `iteration`, `epoch`, `position`; empty for a new one.
        epoch_plan: The run's way through its data, once the data are there.
        prepared: What was built before the run's folder is made, by name.
        notes: Sentences for the log's beginning.
        early_log: What was logged before that.
        is_kept: Whether what the run writes is kept; False in a dry run.
        log_file: The log file, once there is one, in the process of rank 0.
        logged_at: When the lines of the log were written, in seconds of `time.monotonic`.

    Raises:
        OptionsError: All faults found in the options.
        VapsrError: A plugin cannot be imported.
    """

    current: ClassVar['Run | None'] = None

    def __init__(self, option_file: str | Path, is_train: bool, *, launcher: str = 'none', auto_resume: bool = False,
                 debug: bool = False, force_yml: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
        self.opt = str(option_file)
        self.is_train = is_train
        self.launcher = launcher
        self.auto_resume = auto_resume
        self.debug = debug
        self.command = ' '.join(map(shlex.quote, sys.argv))
        self.resumed: dict[str, int] = {}
        self.epoch_plan: EpochPlan | None = None
        self.prepared: dict[str, Any] = {}
        self.notes: list[str] = []
        self.early_log: list[logging.LogRecord] = []
        self.is_kept = True
        self.log_file: Path | None = None
        self.logged_at: list[float] = []
        self.options = load_options(option_file, is_train, force_yml)
        if plugins:
            self.options['plugins'] = [*self.options.get('plugins', []), *plugins]
        load_plugins(self.options.get('plugins', []))
        check_types(self.opt, self.options)
        check_wandb(self.options)
        prepare_metrics(self.options.get('val', {}).get('metrics', {}))
        self.on_gpu = _check_devices(self.opt, self.options, launcher)
        self.seed_given = 'manual_seed' in self.options
        self.options.setdefault('manual_seed', random.randint(1, 10000))

    @property
    def name(self) -> str:
        """The run's name: `name` of the options, in debug mode with `debug_` before it."""
        name = self.options['name']
        return f'debug_{name}' if self.debug and not name.startswith('debug') else name

    def __deepcopy__(self, memo: dict) -> 'Run':
        return self  # a model copies its options; the run is one

    def __str__(self) -> str:
        return self.command

    def resolved(self) -> str:
        """The option file as it was understood, as YAML that runs again: with the command line's values, defaults and seed."""
        text = yaml.safe_dump(self.options, sort_keys=False, allow_unicode=True)
        return f'# {_printable(self.opt)} as it was read, for:\n# {_printable(self.command)}\n{text}'

    def begin(self, root: str | Path) -> dict[str, Any]:
        """Joins the other processes, seeds the random numbers, and returns the options as BasicSR's pipelines take them.

        In place of basicsr/utils/options.py:82, `parse_options`, which reads YAML with a loader that executes Python tags,
        knows `--local_rank` but not the `--local-rank` of today's torch.distributed.launch, and sets what `--force_yml` names
        with exec and eval.

        Args:
            root: The folder of `experiments` and `results`.

        Raises:
            OptionsError: The processes were not started as `launcher` says.
            VapsrError: The processes do not meet.
        """
        from basicsr.utils import set_random_seed
        from basicsr.utils.dist_util import get_dist_info
        opt = deepcopy(self.options)
        opt['dist'] = self.launcher != 'none'
        if opt['dist']:
            meeting = {name: value for name, value in opt.get('dist_params', {}).items() if name != 'backend'}
            init_dist(self.launcher, self.on_gpu, **meeting)
        opt['rank'], opt['world_size'] = get_dist_info()
        set_random_seed(opt['manual_seed'] + opt['rank'])
        opt['auto_resume'], opt['is_train'], opt['run'] = self.auto_resume, self.is_train, self
        opt['name'] = self.name
        self._set_devices(opt)
        self._set_datasets(opt)
        self._set_classes(opt)
        self._set_paths(opt, Path(root))
        return opt

    def _set_devices(self, opt: dict[str, Any]) -> None:
        if opt['num_gpu'] == 'auto':
            present = torch.cuda.device_count()
            opt['num_gpu'] = present if opt['dist'] else min(present, 1)
        if self.on_gpu and 'train' in opt['datasets']:
            # Batches are copied to the GPU ahead, which takes pinned memory, unless the options say otherwise.
            train = opt['datasets']['train']
            if train.setdefault('pin_memory', True):
                train.setdefault('prefetch_mode', 'cuda')

    def _set_datasets(self, opt: dict[str, Any]) -> None:
        for phase, dataset in opt['datasets'].items():
            dataset['phase'] = phase.partition('_')[0]
            dataset['scale'] = opt['scale']
            change_roots(dataset, expanded)

    def _set_classes(self, opt: dict[str, Any]) -> None:
        """Replaces BasicSR's classes with this package's, and notes that."""
        replaced = []
        sections = [(opt, 'model_type'), *((dataset, 'type') for dataset in opt['datasets'].values())]
        for section, key in sections:
            if section[key] in REPLACEMENTS:
                replaced.append(f'{section[key]} is replaced by {REPLACEMENTS[section[key]]}')
                section[key] = REPLACEMENTS[section[key]]
        self.notes = [*dict.fromkeys(replaced), *unchecked_keys(self.options)]
        for key in [key for key in opt if key.startswith('network_')]:
            if opt[key]['type'] == SPANDREL:
                opt[key]['checkpoint'] = opt['path'][f'pretrain_{key}']
                opt[key]['param_key'] = opt['path'].get(f'param_key_{key.removeprefix("network_")}')
            opt[key] = for_basicsr(opt[key])

    def _set_paths(self, opt: dict[str, Any], root: Path) -> None:
        path = opt['path']
        for key, value in path.items():
            if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
                path[key] = expanded(value)
        if self.is_train:
            folder = root / 'experiments' / opt['name']
            path |= {'experiments_root': str(folder), 'models': str(folder / 'models'), 'log': str(folder),
                     'training_states': str(folder / 'training_states'), 'visualization': str(folder / 'visualization')}
            if self.debug:
                opt['logger'] |= {'print_freq': 1, 'save_checkpoint_freq': 8}
                if 'val' in opt:
                    opt['val']['val_freq'] = 8
        else:
            folder = root / 'results' / opt['name']
            path |= {'results_root': str(folder), 'log': str(folder), 'visualization': str(folder / 'visualization')}


def _printable(text: str) -> str:
    """A text for a comment: without line breaks."""
    return ''.join(letter if letter.isprintable() else '?' for letter in text)


def _check_devices(path: str, options: dict[str, Any], launcher: str) -> bool:
    """Checks that the GPUs asked for are there; whether there are any to work on.

    Raises:
        OptionsError: They are not, or several are to be used by one process.
    """
    present = torch.cuda.device_count()
    num_gpu = present if options['num_gpu'] == 'auto' else options['num_gpu']
    if num_gpu > present and (launcher == 'none' or not present):  # with a launcher, some may be on other machines
        raise OptionsError(fault(path, 'num_gpu', f'{num_gpu} asked for, but torch finds {present} CUDA GPUs here; `auto` '
                                                  f'uses what is there, 0 is the CPU'))
    if options['num_gpu'] != 'auto' and num_gpu > 1 and launcher == 'none' and 'train' in options:
        raise OptionsError(fault(path, 'num_gpu', f'{num_gpu} GPUs take a process each: start with `torchrun --nproc_per_node='
                                                  f'{num_gpu} -m vapsr_arch.train -opt {path} --launcher pytorch`, or set '
                                                  f'num_gpu: auto for one'))
    if num_gpu == 0 and options['datasets'].get('train', {}).get('prefetch_mode') == 'cuda':
        raise OptionsError(fault(path, 'datasets.train.prefetch_mode', 'cuda needs a GPU; leave it empty on a CPU'))
    return num_gpu > 0
