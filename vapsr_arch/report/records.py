"""What was measured before, kept in JSON files with a fingerprint of all that it depends on."""

import functools
import hashlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import basicsr
import torch

import vapsr_arch
from vapsr_arch.downloads import file_sum
from vapsr_arch.files import written_whole
from vapsr_arch.options.roots import paths_of
from vapsr_arch.pipeline.networks import network_class
from vapsr_arch.pipeline.plugins import file_of


def _sum(files: Iterable[Path]) -> str:
    """One sum of many files' contents."""
    return hashlib.sha256(''.join(file_sum(path, 'sha256') for path in files).encode()).hexdigest()


@functools.cache
def own_code() -> str:
    """The sources of this package that the figures come from: an edited network is a changed one."""
    package = Path(vapsr_arch.__file__).parent
    return _sum(path for folder in ('archs', 'data', 'metrics', 'models') for path in sorted((package / folder).rglob('*.py')))


@functools.cache
def cost_code() -> str:
    """The sources of this package that measure what a network costs."""
    package = Path(vapsr_arch.__file__).parent
    return _sum([package / 'report/cost.py', package / 'memory.py'])


def _beside(file: Path) -> list[Path]:
    """A third-party file, and those beside it, which it may import."""
    return sorted(file.parent.glob('*.py'))


def _of_plugin(plugin: str) -> list[Path]:
    """The sources of a plugin: a file and what lies beside it, or a module or a whole package."""
    if plugin.endswith('.py') or '/' in plugin:
        return _beside(file_of(plugin))
    found = importlib.util.find_spec(plugin.partition('.')[0])
    if found.submodule_search_locations:
        return sorted(path for folder in found.submodule_search_locations for path in Path(folder).rglob('*.py'))
    return [Path(found.origin)]


def _of_network(name: str) -> list[Path]:
    """The sources of a network that is neither ours nor BasicSR's, whichever plugin it came with."""
    try:
        file = Path(inspect.getfile(network_class(name))).resolve()
    except TypeError:  # it is not written in Python
        return []
    known = [Path(module.__file__).resolve().parent for module in (vapsr_arch, basicsr)]
    return [] if any(file.is_relative_to(folder) for folder in known) else _beside(file)


def code_state(options: Mapping[str, Any]) -> dict[str, str]:
    """The sums of the code that an option file's figures come from, which differ once it is edited; its plugins are imported."""
    name = options['network_g']['type']
    plugins = {plugin: _sum(_of_plugin(plugin)) for plugin in options.get('plugins', [])}
    state = {'code': own_code(), 'torch': torch.__version__, 'basicsr': version('basicsr'), 'network': _sum(_of_network(name))}
    return state | {f'plugin {plugin}': total for plugin, total in plugins.items()}


def folder_state(folder: Path) -> list[list]:
    """Name, size and time of each file of a folder, which differ once a file has changed."""
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def data_state(dataset: Mapping[str, Any]) -> dict[str, list]:
    """The same of a set's folders and lists."""
    return {key: [file for path in paths for file in folder_state(Path(path))]
            for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file') if (paths := paths_of(dataset.get(key)))}


class Record:
    """What was measured under a fingerprint: values by name, in a JSON file.

    Args:
        path: The file.
        fingerprint: All that the values depend on; those of another one are forgotten.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        self.path = path
        self.fingerprint = json.loads(json.dumps(fingerprint))  # tuples become lists, as they do in the file
        self.measured: dict[str, Any] = {}
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content['fingerprint'] == self.fingerprint:
                self.measured = dict(content['measured'])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none, or it is damaged

    def take(self, name: str, measure: Callable[[], Any]) -> Any:
        """A value: the one that is kept, or else what `measure` returns."""
        if name not in self.measured:
            self.measured[name] = measure()
            with written_whole(self.path) as temporary:
                temporary.write_text(json.dumps({'fingerprint': self.fingerprint, 'measured': self.measured}, indent=1),
                                     encoding='utf-8')
        return self.measured[name]

    def forget(self, name: str) -> None:
        """Has a value measured again."""
        self.measured.pop(name, None)
