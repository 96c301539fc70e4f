"""Plugins: networks, losses, data sets, models and metrics of others, from modules and from single files.

A plugin is a dotted module (the current folder is importable) or the path of a `.py` file; importing it registers what it has
with BasicSR's registries. A network that is never registered is named as `path/to/file.py:ClassName`.

A file that lies in a `basicsr` folder of its repository, as `basicsr/archs/smfanet_arch.py`, finds pip's BasicSR under that name,
and what lies beside it but not in pip's. Other files find their own folder and those above it, up to the repository's root.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.pipeline.registration import register

ENTRY_POINTS = 'vapsr_arch.plugins'  # the group in which an installed package names a module to import
_ROOTS = ('.git', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')  # what tells the root of a repository
_HIGHEST = 3  # folders above a file that may be its root
_PACKAGES = {'cv2': 'opencv-python', 'skimage': 'scikit-image', 'PIL': 'pillow', 'yaml': 'pyyaml', 'mamba_ssm': 'mamba-ssm'}

_files: dict[Path, ModuleType] = {}
_helpers: dict[str, Path] = {}  # modules that lie beside plugin files, and their repository


def load_plugins(plugins: Sequence[str]) -> None:
    """Registers this package with BasicSR, then imports plugins: first those of installed packages, then the given ones.

    Each is named in one line on standard error before it is imported, for its code runs then.

    Args:
        plugins: Dotted modules and paths of `.py` files, relative to the current folder.

    Raises:
        OptionsError: There is no such module or file.
        VapsrError: One cannot be imported: the file, the line and the reason.
    """
    register()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.module not in sys.modules:
            _say(f'{point.module}, of the installed package {point.dist.name if point.dist else point.name}')
            with _explained(point.module):
                point.load()
    for plugin in plugins:
        if plugin.endswith('.py') or '/' in plugin:
            load_file(plugin)
        else:
            _load_module(plugin)


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
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise OptionsError(f'plugin {path}: there is no such file')
    if file not in _files:
        _say(path)
        with _explained(path), _siblings(file):
            _files[file] = _import_file(file)
    return _files[file]


def class_of(name: str) -> Callable:
    """The class or function that `path/to/file.py:ClassName` names.

    Raises:
        OptionsError: There is no such file, or no such name in it.
        VapsrError: The file cannot be imported.
    """
    path, _, attribute = name.rpartition(':')
    module = load_file(path)
    if not callable(getattr(module, attribute, None)):
        own = sorted(key for key, value in vars(module).items()
                     if isinstance(value, type) and value.__module__ == module.__name__)
        raise OptionsError(f'{path} has no class {attribute}; it has {", ".join(own) or "no class of its own"}')
    return getattr(module, attribute)


def names_class_of_file(name: str) -> bool:
    """Whether a `type` names a class of a file, as `path/to/file.py:ClassName`."""
    path, _, attribute = name.rpartition(':')
    return path.endswith('.py') and bool(attribute)


def _say(what: str) -> None:
    print(f'plugin: importing {what}', file=sys.stderr, flush=True)


def _load_module(name: str) -> None:
    if name in sys.modules:
        return
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # a parent is missing or fails: the import below says why
        found = name.partition('.')[0] and importlib.util.find_spec(name.partition('.')[0])
    if found is None:
        raise OptionsError(f'plugin {name}: there is no such module, neither installed nor in {here}')
    _say(f'{name} ({found.origin})' if found.origin else name)
    with _explained(name):
        importlib.import_module(name)


def _import_file(file: Path) -> ModuleType:
    inside = _inside_basicsr(file)
    name = '.'.join(('basicsr', *inside.with_suffix('').parts)) if inside else ''
    if not name or name in sys.modules or _is_pips(name):
        name = f'vapsr_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}'
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _inside_basicsr(file: Path) -> Path | None:
    """The path of a file within the `basicsr` folder of its repository, such as `archs/smfanet_arch.py`."""
    for folder in file.parents[1:_HIGHEST + 1]:
        if folder.name == 'basicsr' and folder.parent != _pips_basicsr().parent:
            return file.relative_to(folder)
    return None


def _pips_basicsr() -> Path:
    import basicsr
    return Path(basicsr.__file__).parent


def _is_pips(name: str) -> bool:
    return _pips_basicsr().joinpath(*name.split('.')[1:]).with_suffix('.py').is_file()


def _folders(file: Path) -> list[Path]:
    """The folders that a file's imports may need: its own and those above it, up to the root of its repository."""
    folders = [file.parent]
    while len(folders) <= _HIGHEST and not any(folders[-1].joinpath(name).exists() for name in _ROOTS):
        folders.append(folders[-1].parent)
    if len(folders) > _HIGHEST:  # no root is known: the file's folder and the one above it
        folders = [file.parent, file.parent.parent]
    return folders


@contextmanager
def _siblings(file: Path) -> Iterator[None]:
    """Lets a file import what lies beside it, and neither more afterwards nor what lies beside another repository's files."""
    folders = _folders(file)
    root = folders[-1]
    for name in [name for name, owner in _helpers.items() if owner != root]:
        sys.modules.pop(name, None)
        _helpers.pop(name)
    extended: list[tuple[list[str], str]] = [(sys.path, str(folder)) for folder in folders if str(folder) not in sys.path]
    inside = _inside_basicsr(file)
    if inside:
        own = file.parents[len(inside.parts) - 1]
        import basicsr
        packages = {'basicsr': own} | {f'basicsr.{path.name}': path for path in own.iterdir() if path.is_dir()}
        for name, folder in packages.items():
            if name == 'basicsr' or hasattr(basicsr, name.partition('.')[2]):
                extended.append((sys.modules[name].__path__, str(folder)))
    before = set(sys.modules)
    for places, folder in extended:
        places.append(folder)
    try:
        yield
    finally:
        for places, folder in extended:
            places.remove(folder)
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], '__file__', None)
            if origin and Path(origin).is_relative_to(root) and Path(origin) != file:
                _helpers[name] = root


@contextmanager
def _explained(plugin: str) -> Iterator[None]:
    """Turns whatever an import raises into a sentence.

    Raises:
        VapsrError: The file, the line and the reason.
    """
    try:
        yield
    except VapsrError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise VapsrError(f'plugin {plugin} cannot be imported: {_place(error)}{_reason(error)}') from None


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f'{error.filename}, line {error.lineno}: '
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename != __file__ and not frame.filename.startswith('<frozen')]
    registry = 'registry.py'
    frames = [frame for frame in frames if not frame.filename.endswith(registry)] or frames
    return f'{frames[-1].filename}, line {frames[-1].lineno}: ' if frames else ''


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition('.')[0]
        if top != 'basicsr':
            return f'it needs {top}, which is not installed: `pip install {_PACKAGES.get(top, top)}`'
        return f'it needs {error.name}, which neither BasicSR 1.4.2 nor the folders beside the file have'
    if isinstance(error, AssertionError) and 'was already registered' in str(error):
        name = str(error).split("'")[1]
        return f'{name} is registered already, by {_registrar(name)}: rename one of the two, or leave this plugin out'
    return f'{type(error).__name__}: {error}'.splitlines()[0]


def _registrar(name: str) -> str:
    """The file that registered a name."""
    from basicsr.utils import registry
    for value in vars(registry).values():
        if isinstance(value, registry.Registry) and name in value:
            owner = sys.modules.get(dict(value)[name].__module__)
            return getattr(owner, '__file__', None) or dict(value)[name].__module__
    return 'another module'
