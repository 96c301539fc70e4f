"""How strong degradations are: the schema of `degrade.yml`, which holds the defaults, and of files that override it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from vapsr_arch.errors import OptionsError
from vapsr_arch.options.faults import fault, nearest
from vapsr_arch.options.yaml_files import read_yaml

DEFAULTS = Path(__file__).with_name('degrade.yml')


def _ascending(values: list[float]) -> list[float]:
    if values[0] > values[1]:
        raise PydanticCustomError('descending', 'Input should be the lowest and the highest value, in this order')
    return values


def _used(weights: dict[str, float]) -> dict[str, float]:
    """The weights above 0 by name, so that equal strengths are equal however a file writes them."""
    used = {name: weight for name, weight in sorted(weights.items()) if weight}
    if not used:
        raise PydanticCustomError('no_weight', 'Input should have a weight above 0')
    return used


_Share = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0, le=1e6)]
_Number = TypeVar('_Number')
_Range = Annotated[list[_Number], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra='forbid', frozen=True)


class Blur(_Part):
    """A Gaussian's sigma in LR pixels, along the longer axis; aspect is the shorter axis over it."""

    kinds: Annotated[dict[Literal['none', 'isotropic', 'anisotropic'], _Weight], AfterValidator(_used)]
    sigma: _Range[Annotated[float, Field(ge=0, le=10)]]
    aspect: _Range[Annotated[float, Field(ge=0.1, le=1)]]


class Downscale(_Part):
    kernels: Annotated[dict[Literal['area', 'bilinear', 'bicubic', 'lanczos'], _Weight], AfterValidator(_used)]


class Noise(_Part):
    """Sigma in levels of 255, of Poisson noise at mid-grey; grey is the share of equal noise in all channels."""

    kinds: Annotated[dict[Literal['none', 'gaussian', 'poisson'], _Weight], AfterValidator(_used)]
    sigma: _Range[Annotated[float, Field(ge=0, le=128)]]
    grey: _Share


class Jpeg(_Part):
    """Quality from 1 to 100; chroma_420 is the share with 4:2:0, the rest has 4:4:4."""

    times: Annotated[dict[Literal['none', 'once', 'twice'], _Weight], AfterValidator(_used)]
    quality: _Range[Annotated[int, Field(ge=1, le=100)]]
    chroma_420: _Share


class Strengths(_Part):
    blur: Blur
    downscale: Downscale
    noise: Noise
    jpeg: Jpeg


def _describe(path: str | os.PathLike, errors: list[ErrorDetails]) -> Iterator[str]:
    for error in errors:
        place = [str(part) for part in error['loc'] if part != '[key]']
        if error['type'] == 'extra_forbidden':
            part = Strengths if len(place) == 1 else Strengths.model_fields[place[0]].annotation
            text = f'unknown key{nearest(place[-1], part.model_fields)}'
        else:
            text = f'{error["msg"]}, not {error["input"]!r}'
        yield fault(path, '.'.join(place), text)


def load_strengths(path: str | os.PathLike | None = None) -> Strengths:
    """Reads strengths.

    Args:
        path: A YAML file with some or all of the keys of `degrade.yml`; a key that it leaves out has its default. None for
            the defaults.

    Raises:
        OptionsError: The file cannot be read, or all faults found in it, a line each, with the file and the key.
    """
    values = read_yaml(DEFAULTS)
    for name, section in read_yaml(path).items() if path else ():
        mergeable = isinstance(section, dict) and name in values
        values[name] = values[name] | section if mergeable else section
    try:
        return Strengths.model_validate(values)
    except ValidationError as error:
        raise OptionsError('\n'.join(_describe(path or DEFAULTS, error.errors()))) from None
