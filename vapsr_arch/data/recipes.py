"""Recipes: JSON kept with what the data tools make, which says what made it and with which settings."""

import json
from pathlib import Path
from typing import Any

RECIPE = '.vapsr.json'  # its name in an output folder


def parsed_recipe(content: bytes) -> dict[str, Any] | None:
    """A recipe from its bytes; None if they are damaged."""
    try:
        recipe = json.loads(content)
    except (ValueError, RecursionError):  # ValueError: not UTF-8, not JSON, or a number of thousands of digits
        return None
    return recipe if isinstance(recipe, dict) else None


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe in a folder; None if there is none, or it is damaged."""
    path = folder / RECIPE
    return parsed_recipe(path.read_bytes()) if path.is_file() else None
