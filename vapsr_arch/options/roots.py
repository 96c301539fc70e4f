"""The paths of a data set's images in an option file: one below each `dataroot` key, or a list of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NO_LIST_IN_TESTS = 'a list of packs is for training: name one pack'


def paths_of(value: Any) -> list[str]:
    """The paths of a key that has one or a list of them; none of a key that has something else."""
    return [path for path in (value if isinstance(value, list) else [value]) if isinstance(path, str)]


def change_roots(dataset: dict[str, Any], change: Callable[[str], str]) -> None:
    """Changes each path of a data set's images, in place."""
    for key, value in dataset.items():
        if key.startswith('dataroot') and isinstance(value, str):
            dataset[key] = change(value)
        elif key.startswith('dataroot') and isinstance(value, list):
            dataset[key] = [change(path) if isinstance(path, str) else path for path in value]


def expanded(path: str) -> str:
    """A path with a user's folder in place of `~` or `~NAME`; as it is where there is no such user."""
    return str(Path(os.path.expanduser(path)))
