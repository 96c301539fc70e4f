"""Published figures: of the networks here, to compare with measured ones; of other networks, as rows of their own."""

import functools
import os
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from vapsr_arch.archs import AUTHORS_NAMES
from vapsr_arch.errors import OptionsError
from vapsr_arch.options.faults import fault
from vapsr_arch.options.keys import Positive, Section
from vapsr_arch.options.yaml_files import read_yaml
from vapsr_arch.report.row import Row


@functools.cache
def _entries() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load(Path(__file__).with_suffix('.yml').read_text(encoding='utf-8')))


def published(network: str, scale: int, parameters: int) -> dict[str, Any] | None:
    """The published figures of a network, found by its type, its scale and its exact number of parameters.

    Returns:
        `source` and `sets`, PSNR in dB and SSIM on Y by set; None if there are none.
    """
    name = AUTHORS_NAMES.get(network, network)
    for entry in _entries():
        if (entry['network'], entry['scale'], entry['parameters']) == (name, scale, parameters):
            return entry
    return None


def _by_metric(value: Any) -> Any:
    """`[32.45, 0.8976]` is PSNR and SSIM."""
    return dict(zip(('psnr', 'ssim'), value)) if isinstance(value, list) and len(value) <= 2 else value


def _number(value: Any) -> Any:
    """YAML 1.1 leaves `19.5e9` a string for want of a sign."""
    try:
        return round(float(value)) if isinstance(value, str | float) else value
    except ValueError:
        return value


class PublishedRow(Section):
    """A row of figures that were not measured here."""

    name: str
    scale: Positive
    source: str  # where they were published
    parameters: Annotated[int, BeforeValidator(_number), Field(ge=1)] | None = None
    multi_adds: Annotated[int, BeforeValidator(_number), Field(ge=1)] | None = None
    sets: dict[str, Annotated[dict[str, float], BeforeValidator(_by_metric)]] = Field(default_factory=dict)


class PublishedFile(Section):
    """A YAML file of published figures."""

    published: list[PublishedRow]


def read_rows(path: str | os.PathLike) -> list[Row]:
    """Reads rows of published figures.

    Args:
        path: A YAML file with the key `published`: a list of `name`, `scale`, `source`, `parameters`, `multi_adds` and `sets`, a
            set's figures being `[PSNR, SSIM]` or a mapping by metric.

    Raises:
        OptionsError: The file cannot be read, or has faults: each with its place.
    """
    try:
        rows = PublishedFile.model_validate(read_yaml(path)).published
    except ValidationError as error:
        raise OptionsError('\n'.join(fault(path, '.'.join(map(str, item['loc'])), _describe(item))
                                     for item in error.errors())) from None
    return [Row(row.name, row.scale, parameters=row.parameters, multi_adds=row.multi_adds, scores=row.sets, source=row.source)
            for row in rows]


def _describe(item: Any) -> str:
    if item['type'] == 'unknown_keys':
        return f'unknown keys {", ".join(map(str, item["ctx"]["unknown"]))}; known: {", ".join(item["ctx"]["known"])}'
    return 'is required' if item['type'] == 'missing' else f'{item["msg"]}, not {item["input"]!r}'
