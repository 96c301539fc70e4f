"""The package of docs/extending.md, written out; and the registries as they were before it was imported."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from basicsr.utils import registry

from tests.conftest import REPOSITORY
from vapsr_arch.pipeline import repositories

_BLOCK = re.compile(r'^```\w+\n# (\S+\.\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def write_documented_files(folder: Path) -> list[str]:
    """Writes the files that docs/extending.md shows, each under the name in its first line; returns their names."""
    blocks = _BLOCK.findall((REPOSITORY / 'docs/extending.md').read_text())
    for name, text in blocks:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [name for name, _ in blocks]


@contextmanager
def plugins_forgotten(folder: Path) -> Iterator[None]:
    """Afterwards, nothing from a folder is registered, imported or importable."""
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    registered = [dict(value._obj_map) for value in registries]
    path = list(sys.path)
    repositories._modules.clear()
    try:
        yield
    finally:
        for value, before in zip(registries, registered):
            value._obj_map = before
        repositories._modules.clear()
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if repositories._is_of(module, folder):
                repositories._take_away(name, module)
