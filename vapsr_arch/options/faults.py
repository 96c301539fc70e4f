"""How faults of options are worded."""

import difflib
import os
from collections.abc import Iterable
from typing import Any

_LONGEST = 100  # characters of a value that a message shows


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that looks most like this one, else the list of those known."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name)[:_LONGEST], known, 1, cutoff=0.5)
    return f'; did you mean {close[0]!r}?' if close else f'; known: {", ".join(known)}'


def shown(value: Any, quoted: bool = True) -> str:
    """A value of an option file as a message shows it: on one line, in a hundred characters, true and false as YAML has them.

    Args:
        value: Any value.
        quoted: Whether text is put in quotes.
    """
    if isinstance(value, dict):
        return 'a section'
    if value is None or isinstance(value, bool):
        return {None: 'empty', True: 'true', False: 'false'}[value]
    text = repr(value)
    if isinstance(value, str) and not quoted:
        text = ''.join(letter if letter.isprintable() else '?' for letter in value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'


def fault(path: str | os.PathLike, key: str, text: str) -> str:
    key = shown(key, quoted=False)
    return f'{path}: {key}: {text}' if key else f'{path}: {text}'
