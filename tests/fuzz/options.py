"""Damaged option files, and whole ones with values that are not meant."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.cases import Outcome, damaged, taken
from vapsr_arch.options.reading import load_options

Case = tuple[bytes, bool, list[str]]  # a file's bytes, whether it is for training, entries of --force_yml

_TEXTS = ('? [a]\n: b', '!!int x', '2001-02-30', '!!bool maybe', '!!set {a, b}', '!!binary x', '9' * 5000, '{' * 1500, '[' * 1500,
          '&a [*a]', '*none', '<<: 3', '!!python/object:os.system x', '0x_', '1:2:3', '.inf', '-.nan', '1e999', '~', '""',
          '- - - 1',
          'a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]', '../../x', '/etc/x', '"\\0"', '"\\uD800"', '\t', '!!timestamp 1', '=')


def _leaves(value: Any, place: tuple = ()) -> list[tuple]:
    """Where there is a value in nested sections and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [leaf for key, inner in items for leaf in _leaves(inner, (*place, key))]


def _changed(content: bytes, changes: list[tuple[int, Any]]) -> bytes:
    """An option file with other values here and there."""
    options = yaml.safe_load(content)
    for number, value in changes:
        leaves = _leaves(options)
        *sections, last = leaves[number % len(leaves)]
        section = options
        for key in sections:
            section = section[key]
        section[last] = value
    return yaml.safe_dump(options, allow_unicode=True).encode(errors='surrogatepass')


@st.composite
def _with_text(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """An option file in which the value of a line is another text."""
    lines = draw(st.sampled_from(originals)).decode().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[number].partition(':')
    lines[number] = f'{key}{colon} {draw(st.sampled_from(_TEXTS))}'
    return '\n'.join(lines).encode()


def cases() -> st.SearchStrategy[Case]:
    """Option files with what they are read for."""
    originals = [path.read_bytes() for path in sorted(Path(__file__).parents[2].joinpath('options').rglob('*.yml'))[::4]]
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
                        st.sampled_from(('..', '.', '../../x', '/x', 'a\0b', 'x' * 300, 'auto', '-1', 'nan')))
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3),
                          max_leaves=4)
    files = st.one_of(damaged(originals), _with_text(originals), st.builds(
        _changed, st.sampled_from(originals), st.lists(st.tuples(st.integers(0, 200), values), min_size=1, max_size=3)))
    entries = st.builds('{}={}'.format, st.sampled_from(('train:total_iter', 'name', 'a:b', 'scale', ':', 'datasets')),
                        st.one_of(st.sampled_from(_TEXTS), st.text(max_size=8)))
    return st.tuples(files, st.booleans(), st.one_of(st.just([]), st.just([]), st.lists(entries, max_size=2)))


def run(case: Case) -> Outcome:
    """Reads an option file."""
    content, is_train, entries = case
    with tempfile.TemporaryDirectory(prefix='vapsr-fuzz-') as folder:
        path = Path(folder, 'x.yml')
        path.write_bytes(content)
        return taken(functools.partial(load_options, path, is_train, entries), len(content))
