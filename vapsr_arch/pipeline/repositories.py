"""Files of others' repositories: imports them alone or as part of their package, with what lies beside them importable.

While a file is imported, the folders of its repository are on `sys.path`, and the modules of other repositories are set aside:
each finds its own `utils` or `models`. A file in a `basicsr` folder of its repository, as `basicsr/archs/smfanet_arch.py`, finds
pip's BasicSR under that name, and what lies beside it but not in pip's.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_HIGHEST = 3  # folders above a file's own that may be the root of its repository
_ROOT = ('.git', 'setup.py', 'pyproject.toml')  # what marks it; a README also lies in other folders, but above the file's own
_ALSO_ROOT = ('README.md', 'LICENSE', 'requirements.txt')
_LIBRARIES = [sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')]

# By repository, the modules that its files imported from it; the repository used last is the last.
_modules: dict[Path, dict[str, ModuleType]] = {}


def import_file(file: Path) -> ModuleType:
    """Imports a file; under its name in `basicsr` or in its package where it imports from there, else alone.

    Args:
        file: The file, resolved.
    """
    with beside(file):
        inside = _within_basicsr(file)
        if inside:
            name = '.'.join(('basicsr', *inside.with_suffix('').parts))
            if not is_pips(name):
                return _execute(file, name)
        depth = 0 if inside else _package_depth(file)
        if depth:
            sys.path.insert(0, str(file.parents[depth]))
            folders = [folder.name for folder in file.parents[:depth]]
            return importlib.import_module('.'.join([*reversed(folders), file.stem]))
        return _execute(file, f'vapsr_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}')


def imported(file: Path) -> ModuleType | None:
    """The module that a file was imported as before, under whatever name."""
    known = [*sys.modules.values(), *(module for modules in _modules.values() for module in modules.values())]
    for module in known:
        origin = getattr(module, '__file__', None)
        if isinstance(origin, str) and Path(origin).name == file.name and Path(origin).resolve() == file:
            return module
    return None


def is_pips(module: str) -> bool:
    """Whether a module, such as `basicsr.archs.edsr_arch`, is one of the installed BasicSR."""
    top, *parts = module.split('.')
    return top == 'basicsr' and _pips_basicsr().joinpath(*parts).with_suffix('.py').is_file()


@contextmanager
def beside(file: Path) -> Iterator[None]:
    """Lets code of a file import what lies in its repository, but nothing of another one.

    Args:
        file: The file, resolved.
    """
    root, first, last = _folders(file)
    paths = [(sys.path, first, last)]
    inside = _within_basicsr(file)
    if inside:
        own = file.parents[len(inside.parts) - 1]
        packages = {'basicsr': own} | {f'basicsr.{folder.name}': folder for folder in own.iterdir() if folder.is_dir()}
        paths += [(sys.modules[name].__path__, [], [folder]) for name, folder in packages.items()
                  if hasattr(sys.modules.get(name), '__path__')]
    before = [list(path) for path, _, _ in paths]
    for path, front, back in paths:
        path[:] = [*map(str, front), *path, *map(str, back)]
    try:
        with own_modules(root):
            yield
    finally:
        for (path, _, _), entries in zip(paths, before):
            path[:] = entries


@contextmanager
def own_modules(root: Path) -> Iterator[None]:
    """Has `sys.modules` without what other repositories imported from theirs, and notes what is imported from this one.

    Afterwards all are back, but of two modules with one name the one that was used last.

    Args:
        root: The repository's folder.
    """
    for modules in _modules.values():
        for name in sorted(modules):
            _take_away(name, modules[name])
    own = _modules[root] = _modules.pop(root, {})
    _put_back(own)
    before = set(sys.modules)
    try:
        yield
    finally:
        own.update({name: sys.modules[name] for name in set(sys.modules) - before if _is_of(sys.modules[name], root)})
        claimed: set[str] = set()
        for modules in reversed(_modules.values()):
            mine = {name: module for name, module in modules.items() if _claim(name) not in claimed}
            _put_back(mine)
            claimed |= {_claim(name) for name in modules}


def _claim(name: str) -> str:
    """The name that only one repository can have at a time: a package's, but of modules within `basicsr` the module's."""
    return name if name.startswith('basicsr.') else name.partition('.')[0]


def _take_away(name: str, module: ModuleType) -> None:
    if sys.modules.get(name) is module:
        del sys.modules[name]
    parent, _, child = name.rpartition('.')
    if getattr(sys.modules.get(parent), child, None) is module:
        delattr(sys.modules[parent], child)


def _put_back(modules: dict[str, ModuleType]) -> None:
    for name in sorted(modules):
        sys.modules[name] = modules[name]
        parent, _, child = name.rpartition('.')
        if parent in sys.modules:
            setattr(sys.modules[parent], child, modules[name])


def _is_of(module: ModuleType, root: Path) -> bool:
    """Whether a module is a repository's own, and not of a library that is installed in a folder of it, nor of this package."""
    known = vars(module)  # some modules of torch answer to any name
    if known.get('__name__', '').partition('.')[0] == 'vapsr_arch':
        return False
    origins = [Path(origin) for origin in (known.get('__file__'), *known.get('__path__', ())) if origin]
    return any(origin.is_relative_to(root) and not any(map(origin.is_relative_to, _LIBRARIES)) for origin in origins)


def _execute(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    _put_back({name: module})
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _take_away(name, module)
        raise
    return module


def _folders(file: Path) -> tuple[Path, list[Path], list[Path]]:
    """What identifies a file's repository, and the folders for its imports: before all others, and after them."""
    for above, folder in enumerate(file.parents[:_HIGHEST + 1]):
        if any((folder / name).exists() for name in (_ROOT + _ALSO_ROOT if above else _ROOT)):
            first = list(reversed(file.parents[:above + 1]))
            return folder, first[:-1] or first, first[-1:]
    return file.parent, [file.parent], [file.parent.parent]


def _within_basicsr(file: Path) -> Path | None:
    """The path of a file within the `basicsr` folder of its repository, such as `archs/smfanet_arch.py`."""
    for folder in file.parents[1:_HIGHEST + 1]:
        if folder.name == 'basicsr' and folder != _pips_basicsr():
            return file.relative_to(folder)
    return None


def _pips_basicsr() -> Path:
    import basicsr
    return Path(basicsr.__file__).resolve().parent


def _package_depth(file: Path) -> int:
    """How many folders above a file are the package that it imports from; 0 where it imports from none."""
    nodes = list(ast.walk(ast.parse(file.read_bytes(), str(file))))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    names = [node.module or '' for node in froms] + [
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    relative = max((node.level for node in froms), default=0)
    packages = 0
    while (file.parents[packages] / '__init__.py').exists():
        packages += 1
    imports_own = packages and file.parents[packages - 1].name in {name.partition('.')[0] for name in names}
    return max(relative, packages) if relative or imports_own else 0
