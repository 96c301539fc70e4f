"""Plugins: third-party networks, losses, data sets, models and metrics, from modules and from single files.

A plugin is a dotted module (the current folder is importable) or the path of a `.py` file; importing it registers what it has
with BasicSR's registries. A network that is never registered is named as `path/to/file.py:ClassName`.
`vapsr_arch.pipeline.repositories` says what a file's own imports find.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.options.faults import nearest
from vapsr_arch.pipeline.registration import register
from vapsr_arch.pipeline.repositories import beside, import_file, imported, own_modules

ENTRY_POINTS = 'vapsr_arch.plugins'  # the group in which an installed package names a module to import
# Libraries that pip knows under another name.
_PIP_NAMES = {'cv2': 'opencv-python', 'skimage': 'scikit-image', 'sklearn': 'scikit-learn', 'PIL': 'pillow', 'yaml': 'pyyaml',
              'mamba_ssm': 'mamba-ssm', 'pytorch_wavelets': 'pytorch-wavelets', 'pytorch_msssim': 'pytorch-msssim'}
_BETWEEN = (importlib.__file__, '<frozen ', 'basicsr/utils/registry.py')  # code between an import and what fails in it


def load_plugins(plugins: Sequence[str]) -> None:
    """Registers this package with BasicSR, then imports plugins: first those of installed packages, then the given ones.

    Each is named in one line on standard error before it is imported, for its code runs then. What was imported before is not
    imported again.

    Args:
        plugins: Dotted modules and paths of `.py` files, relative to the current folder.

    Raises:
        OptionsError: There is no such module or file.
        VapsrError: One cannot be imported: the file, the line and the reason.
    """
    register()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.module not in sys.modules:
            package = point.dist.name if point.dist else point.name
            _say(f'{point.module}, of the installed package {package}')
            with _explained(f'{point.module} of the installed package {package}'):
                point.load()
    for plugin in plugins:
        if plugin.endswith('.py') or '/' in plugin:
            load_file(plugin)
        else:
            _load_module(plugin)


def file_of(path: str) -> Path:
    """The file of a plugin, absolute; `~` is the home folder, also `~name` where there is such a user."""
    return Path(os.path.expanduser(path)).resolve()


def load_file(path: str) -> ModuleType:
    """Imports a file as a module, once.

    Args:
        path: The file.

    Returns:
        The module.

    Raises:
        OptionsError: There is no such file.
        VapsrError: It cannot be imported: the file, the line and the reason.
    """
    file = file_of(path)
    if not file.is_file():
        raise OptionsError(f'plugin {path}: there is no such file')
    module = imported(file)
    if module is None:
        _say(path)
        with _explained(path):
            module = import_file(file)
    return module


def class_of(name: str) -> Callable:
    """The class or function that `path/to/file.py:ClassName` names; what it registers may have a name that is taken.

    Raises:
        OptionsError: There is no such file, or no such name in it.
        VapsrError: The file cannot be imported.
    """
    path, _, attribute = name.rpartition(':')
    with _taken_names_allowed():
        module = load_file(path)
    found = getattr(module, attribute, None)
    if not callable(found):
        own = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
        raise OptionsError(f'{path} has no class {attribute}' + (nearest(attribute, own) if own else ', nor any other'))
    return found


@contextmanager
def _taken_names_allowed() -> Iterator[None]:
    """Lets code register names that are taken: they stay those of who had them first."""
    from basicsr.utils import registry
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    before = [value._obj_map for value in registries]
    for value in registries:
        value._obj_map = {}
    try:
        yield
    finally:
        for value, taken in zip(registries, before):
            value._obj_map = value._obj_map | taken


def names_class_of_file(name: str) -> bool:
    """Whether a `type` names a class of a file, as `path/to/file.py:ClassName`."""
    path, _, attribute = name.rpartition(':')
    return path.endswith('.py') and bool(attribute)


@contextmanager
def beside_class(name: str) -> Iterator[None]:
    """Lets the class that `path/to/file.py:ClassName` names import what lies beside its file when it is called."""
    with beside(file_of(name.rpartition(':')[0])):
        yield


def _say(what: str) -> None:
    print(f'plugin: importing {what}', file=sys.stderr, flush=True)


def _load_module(name: str) -> None:
    if name in sys.modules:
        return
    here = Path.cwd()
    if str(here) not in sys.path:
        sys.path.append(str(here))
    importlib.invalidate_caches()
    with _explained(name), own_modules(here):
        found = importlib.util.find_spec(name.partition('.')[0])
        if found is None:
            raise OptionsError(f'plugin {name}: there is no such module, neither installed nor in {here}')
        _say(f'{name} ({found.origin or ", ".join(found.submodule_search_locations)})')
        importlib.import_module(name)


@contextmanager
def _explained(plugin: str) -> Iterator[None]:
    """Turns whatever an import raises, `sys.exit` included, into a sentence.

    Raises:
        VapsrError: The file, the line and the reason.
    """
    try:
        yield
    except (VapsrError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise VapsrError(f'plugin {plugin} cannot be imported: {_place(error)}{_reason(error, plugin)}') from None


def _place(error: BaseException) -> str:
    """Where an import failed: the file and the line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f'{error.filename}, line {error.lineno or 1}: '
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not any(between in frame.filename for between in _BETWEEN) and not _is_own(frame.filename)]
    return f'{frames[-1].filename}, line {frames[-1].lineno}: ' if frames else ''


def _is_own(filename: str) -> bool:
    return Path(filename).parent == Path(__file__).parent or filename.endswith('contextlib.py')


def _reason(error: BaseException, plugin: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition('.')[0]
        if top == 'basicsr':
            return f'it needs {error.name}, which neither BasicSR 1.4.2 has nor the repository'
        if importlib.util.find_spec(top) is None:
            return f'it needs {top}, which is not installed: `pip install {_PIP_NAMES.get(top, top)}`'
        return f'there is no {error.name}'
    if isinstance(error, ImportError) and (error.name or '').startswith('basicsr'):
        return f'{str(error).partition(" (")[0]}: BasicSR 1.4.2 does not have it, the repository has changed its own'
    if isinstance(error, AssertionError) and 'was already registered' in str(error):
        name = str(error).split("'")[1]
        by_file = f', or name the network as {plugin}:{name}' if "'arch' registry" in str(error) else ''
        return f'{name} is registered already, by {_registrar(name)}: rename one of the two, leave one out{by_file}'
    return f'{type(error).__name__}: {error}'.splitlines()[0]


def _registrar(name: str) -> str:
    """The file that registered a name."""
    from basicsr.utils import registry
    for value in vars(registry).values():
        if isinstance(value, registry.Registry) and name in value:
            module = value.get(name).__module__
            return getattr(sys.modules.get(module), '__file__', None) or module
    return 'another module'
