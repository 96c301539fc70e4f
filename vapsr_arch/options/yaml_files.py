"""YAML, read safely: whatever a file holds, the result is its sections and values, or one sentence with the line."""

import os
import re
from collections.abc import Iterable
from typing import Any, ClassVar

import yaml

from vapsr_arch.errors import OptionsError
from vapsr_arch.options.faults import shown

# What YAML 1.1 leaves a string for want of a dot, and Python calls a number: 1e-3.
_FLOAT = re.compile(r'^[-+]?[0-9]+[eE][-+]?[0-9]+$')
_LARGEST = 1_000_000  # bytes
_DEEPEST = 30  # sections within sections
_MOST = 10_000  # values, with those that aliases repeat
# By YAML's tags.
_KINDS = {'null': 'empty', 'bool': 'true or false', 'int': 'a whole number', 'float': 'a number', 'timestamp': 'a date'}


def _kind(node: yaml.Node) -> str:
    """What YAML takes a node for, in plain English."""
    return _KINDS.get(node.tag.rpartition(':')[2], node.tag)


def _refused(text: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, text, mark)


class _Loader(yaml.SafeLoader):
    """YAML of text, numbers, true, false, lists and sections alone.

    `1e-3` is a number. Refused are keys that are given twice or are no text, text that no file name can have, numbers beyond
    64 bits, dates, merge keys, and what aliases blow up.
    """

    yaml_constructors: ClassVar[dict] = {
        tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(':')[2] in ('null', 'bool', 'int', 'float', 'str', 'seq', 'map')}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}  # values in it, and how deep they lie

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _refused(f'sections within sections, more than {_DEEPEST} deep', event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            parts = [node] if isinstance(node, yaml.ScalarNode) else node.value
            parts = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
            sizes = [self._sizes.get(part, (1, 0)) for part in parts]
            self._sizes[node] = sum(size for size, _ in sizes) + 1, max((depth for _, depth in sizes), default=0) + 1
        elif node not in self._sizes:
            raise _refused(f'the alias *{event.anchor} lies within what it stands for', event.start_mark)
        size, depth = self._sizes[node]
        if size > _MOST or len(self._sizes) > _MOST:
            raise _refused(f'more than {_MOST:,} values, those that aliases repeat included', event.start_mark)
        if depth > _DEEPEST:
            raise _refused(f'sections within sections, more than {_DEEPEST} deep', event.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag == 'tag:yaml.org,2002:timestamp':
            raise _refused(f'{shown(node.value)} is read as a date: put it in quotes', node.start_mark)
        try:
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError):
            raise _refused(f'{shown(node.value)} is not {_kind(node)}', node.start_mark) from None
        if isinstance(value, int) and abs(value) >= 2 ** 63:
            raise _refused(f'{shown(node.value)} is too large a number', node.start_mark)
        if isinstance(value, str) and any(letter == '\0' or '\ud800' <= letter <= '\udfff' for letter in value):
            raise _refused(f'{shown(value)} has characters that no text may have', node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        if not isinstance(node, yaml.MappingNode):
            raise _refused('what is tagged as a section is none', node.start_mark)
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused('a key is text, not a list or a section', key_node.start_mark)
            if key_node.tag == 'tag:yaml.org,2002:merge':
                raise _refused('<< merges sections, which is not read: write the keys out', key_node.start_mark)
            if key_node.tag != 'tag:yaml.org,2002:str':
                raise _refused(f'the key {shown(key_node.value)} is read as {_kind(key_node)}: a key is text; put it in quotes',
                               key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _refused(f'the key {shown(key)} is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', _FLOAT, list('-+0123456789'))


def _parse(text: str) -> tuple[Any, tuple[int, str] | None]:
    """The value of a YAML text, or else what is wrong: the line and the reason."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        return None, (text[:error.position].count('\n') + 1, f'the character U+{error.character:04X} is not allowed')
    try:
        return loader.get_single_data(), None
    except yaml.MarkedYAMLError as error:
        parts = [error.context, error.problem] if (error.problem or '').startswith(('but ', 'second ')) else [error.problem]
        reason = ' '.join(' '.join(filter(None, parts)).split()) or error.context or 'this is not YAML'
        if r"'\t'" in reason:
            reason += ': indent with spaces, not tabs'
        return None, ((error.problem_mark or error.context_mark).line + 1, reason)
    except (ValueError, OverflowError):  # an escape such as "\U00110000"
        return None, (loader.line + 1, 'an escape sequence stands for no character')
    finally:
        loader.dispose()


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        OptionsError: There is no such file, it is not YAML, is too large, has a Python tag or a key twice, or is not a mapping.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise OptionsError(f'{path}: the option file cannot be read: {error.strerror}') from None
    if len(data) > _LARGEST:
        raise OptionsError(f'{path}: it has more than {_LARGEST // 10**6} MB: an option file is a page of text')
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b'\n') + 1
        raise OptionsError(f'{path}: line {line}: the option file cannot be read: it is not UTF-8 text') from None
    value, wrong = _parse(text)
    if wrong:
        raise OptionsError(f'{path}: line {wrong[0]}: {wrong[1]}')
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
        where = f'--force_yml {shown(entry, quoted=False)}'
        if not equals or not all(sections) or not last or len(sections) > _DEEPEST:
            raise OptionsError(f'{where}: write SECTION:KEY=VALUE, such as train:ema_decay=0.999')
        value, wrong = _parse(text)
        if wrong:
            raise OptionsError(f'{where}: {shown(text)} is not a YAML value: {wrong[1]}')
        section: Any = options
        for key in sections:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise OptionsError(f'{where}: {shown(key, quoted=False)} is not a section')
        section[last] = value
