"""Compares BasicSR before and after registration, and before, within and after `applied`; for a process of its own."""

import importlib
import pkgutil
import sys
from typing import Any

from vapsr_arch.basicsr_imports import make_basicsr_importable

make_basicsr_importable()
import basicsr  # noqa: E402

for module in pkgutil.walk_packages(basicsr.__path__, 'basicsr.'):
    importlib.import_module(module.name)


def attributes() -> dict[tuple[str, str], Any]:
    """Everything of BasicSR: the attributes of all modules and classes, by the names of the owner and the attribute."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'basicsr':
            classes = {f'{name}:{key}': value for key, value in vars(module).items()
                       if isinstance(value, type) and value.__module__ == name}
            found |= {(owner, key): value for owner, holder in {name: module, **classes}.items()
                      for key, value in vars(holder).items() if key != '__warningregistry__'}
    return found


def changed(before: dict[tuple[str, str], Any], now: dict[tuple[str, str], Any]) -> set[tuple[str, str]]:
    return {key for key in {*before, *now} if before.get(key, before) is not now.get(key, now)}


def registries() -> dict[str, dict[str, Any]]:
    from basicsr.utils import registry
    return {key: dict(iter(value)) for key, value in vars(registry).items() if isinstance(value, registry.Registry)}


before, registered_before = attributes(), registries()
from vapsr_arch.pipeline import patches, registration  # noqa: E402

registration.register()
assert not changed(before, attributes()), changed(before, attributes())
for name, entries in registries().items():
    assert registered_before[name].items() <= entries.items(), name
assert 'VapSR' in registries()['ARCH_REGISTRY']

table = {(patch.owner, patch.name): patch.replacement for patch in patches.PATCHES}
assert len(table) == len(patches.PATCHES)
assert table.keys() <= before.keys(), table.keys() - before.keys()
try:
    with patches.applied(None):
        within = attributes()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
assert changed(before, within) == table.keys(), changed(before, within) ^ table.keys()
assert all(within[key] is replacement for key, replacement in table.items())
assert not changed(before, attributes())
