"""How faults of options are worded."""

import difflib
import os
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name that looks most like this one, else the list of those known."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, 1, cutoff=0.5)
    return f'; did you mean {close[0]!r}?' if close else f'; known: {", ".join(known)}'


def fault(path: str | os.PathLike, key: str, text: str) -> str:
    return f'{path}: {key}: {text}' if key else f'{path}: {text}'
