"""What the keys of option files may hold, and how a section treats the keys that it does not know."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

_LARGEST = 2**31 - 1  # BasicSR's progress bar, torch's sampler and NumPy's seed take no more
_MISSPELT = 0.8  # how much a key of a third-party model class must look like one of ours to count as that, misspelt


def _whole(value: Any) -> Any:
    """The field writes iteration counts as `!!float 5e3`."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, int) and value > _LARGEST:
        raise PydanticCustomError('largest', f'must be at most {_LARGEST:,}')
    return value


def whole(least: int, most: int | None = None) -> Any:
    """A whole number, also where it is written as a float."""
    return Annotated[int, Field(ge=least, le=most), BeforeValidator(_whole)]


Whole = whole(0)
Positive = whole(1)
WarmUp = whole(-1)
Fraction = Annotated[float, Field(ge=0, le=1)]


def file_name(longest: int) -> Any:
    """Text that files and folders are named by, of at most so many bytes: room is left for what is added to it."""
    def checked(value: str) -> str:
        fault = None
        if value in ('', '.', '..') or not value.isprintable() or {'/', '\\'} & set(value):
            fault = 'must be a name: without / and \\, line breaks and control characters, and not empty, . or ..'
        elif len(value.encode()) > longest:
            fault = f'must have at most {longest} bytes, for files are named by it'
        if fault:
            raise PydanticCustomError('name', fault)
        return value
    return Annotated[str, AfterValidator(checked), WithJsonSchema(
        {'type': 'string', 'minLength': 1, 'maxLength': longest, 'pattern': r'^(?!\.{1,2}$)[^/\\\n]+$'})]


def _gpus(value: Any) -> Any:
    """`auto`, or how many GPUs."""
    if value != 'auto' and (type(_whole(value)) is not int or value < 0):
        raise PydanticCustomError('num_gpu', 'must be a whole number from 0 on, or auto')
    return _whole(value)


Gpus = Annotated[int | str, BeforeValidator(_gpus), WithJsonSchema(
    {'anyOf': [{'const': 'auto'}, {'type': 'integer', 'minimum': 0}]})]


def _roots(value: Any) -> Any:
    """A path, or several."""
    several = isinstance(value, list) and value and all(isinstance(path, str) and path for path in value)
    if not isinstance(value, str) and not several:
        raise PydanticCustomError('roots', 'must be a path or a list of paths')
    return value


Roots = Annotated[str | list[str], BeforeValidator(_roots), WithJsonSchema(
    {'anyOf': [{'type': 'string'}, {'type': 'array', 'items': {'type': 'string', 'minLength': 1}, 'minItems': 1}]})]

PHASE = r'^train$|^(val|test)(_.+)?$'


def _phase(value: Any) -> Any:
    """What a data set is for, as its key under `datasets` says."""
    if not isinstance(value, str) or not re.search(PHASE, value):
        raise PydanticCustomError('phase', 'a data set is named train, val, val_1, ..., or test, test_1, ...')
    return value


Phase = Annotated[str, BeforeValidator(_phase), WithJsonSchema({'type': 'string', 'pattern': PHASE})]


def _off(value: Any) -> Any:
    """YAML 1.1 reads `off` as false."""
    return 'off' if value is False else value


OffAsText = BeforeValidator(_off)


class Section(BaseModel):
    """A section whose keys are known, but for those that end or begin as `suffixes` and `prefixes` say, and where it is open.

    A section that a third-party model class may add to is open if the validation's context says that the model is one. The text
    below a key is its description in the JSON schema and in docs/options.md.
    """

    model_config = ConfigDict(strict=True, extra='allow', allow_inf_nan=False, use_attribute_docstrings=True)
    suffixes: ClassVar[tuple[str, ...]] = ()
    prefixes: ClassVar[tuple[str, ...]] = ()  # of keys that belong to third-party models
    for_models: ClassVar[bool] = False

    @model_validator(mode='before')
    @classmethod
    def known_keys(cls, value: Any, info: ValidationInfo) -> Any:
        unknown = [key for key in value if key not in cls.model_fields] if isinstance(value, Mapping) else []
        if cls.suffixes:
            unknown = [key for key in unknown if not (isinstance(key, str) and key.endswith(cls.suffixes))]
        if cls.for_models and (info.context or {}).get('open'):
            # Beside the right key, another one is meant.
            absent = [key for key in cls.model_fields if unknown and value.get(key) is None]
            unknown = [key for key in unknown if not isinstance(key, str) or (
                not key.startswith(cls.prefixes or ('\0',)) and difflib.get_close_matches(key, absent, 1, _MISSPELT))]
        if unknown:
            raise PydanticCustomError('unknown_keys', 'unknown keys', {'unknown': unknown, 'known': list(cls.model_fields)})
        return value


class Typed(BaseModel):
    """A callable by its registered name, with its arguments."""

    model_config = ConfigDict(strict=True, extra='allow', use_attribute_docstrings=True)
    type: str
    """The name of the class or function; the keys beside it are its arguments."""


def by_type(own: Mapping[str, tuple[str, ...]], otherwise: str) -> Discriminator:
    """Chooses among forms of a section by its `type`.

    Args:
        own: The types of this package, by the form's tag.
        otherwise: The tag where there is no type.
    """
    def kind_of(value: Any) -> str:
        kind = value.get('type') if isinstance(value, Mapping) else getattr(value, 'type', None)
        tags = [tag for tag, types in own.items() if kind in types] if isinstance(kind, str) else [otherwise]
        return tags[0] if tags else 'foreign'
    return Discriminator(kind_of)
