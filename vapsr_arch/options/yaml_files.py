"""YAML, read safely."""

import os
import re
from collections.abc import Iterable
from typing import Any

import yaml

from vapsr_arch.errors import OptionsError

# What YAML 1.1 leaves a string for want of a dot, and Python calls a number: 1e-3.
_FLOAT = re.compile(r'^[-+]?[0-9]+[eE][-+]?[0-9]+$')


class _Loader(yaml.SafeLoader):
    """YAML without Python tags; `1e-3` is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f'the key {key!r} is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', _FLOAT, list('-+0123456789'))


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        OptionsError: There is no such file, it is not YAML, has a Python tag or a key twice, or is not a mapping.
    """
    try:
        with open(path, encoding='utf-8') as file:
            value = yaml.load(file, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        raise OptionsError(f'{path}: the option file cannot be read: {reason}') from None
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f' line {mark.line + 1}:' if mark else ''
        raise OptionsError(f'{path}:{line} {getattr(error, "problem", None) or error}') from None
    if not isinstance(value, dict):
        raise OptionsError(f'{path}: an option file is a mapping of keys, as in options/; this one is not')
    return value


def override(options: dict[str, Any], entries: Iterable[str]) -> None:
    """Sets single keys, as `--force_yml train:ema_decay=0.999` asks; values are YAML.

    Raises:
        OptionsError: An entry is not KEY:KEY=VALUE, its value is not YAML, or a key on its way is not a section.
    """
    for entry in entries:
        keys, equals, text = entry.partition('=')
        *sections, last = keys.strip().split(':')
        if not equals or not all(sections) or not last:
            raise OptionsError(f'--force_yml {entry}: write SECTION:KEY=VALUE, such as train:ema_decay=0.999')
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            raise OptionsError(f'--force_yml {entry}: {text!r} is not a YAML value') from None
        section: Any = options
        for key in sections:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise OptionsError(f'--force_yml {entry}: {key} is not a section')
        section[last] = value
