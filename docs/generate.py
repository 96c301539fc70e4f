"""Writes the pages that follow from the code: docs/options.md, docs/commands.md, the table of patches in docs/architecture.md.

`make docs` runs it; a test compares the pages with what it would write.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from vapsr_arch.cli import app
from vapsr_arch.options.json_schema import json_schema

DOCS = Path(__file__).parent
OPTIONS = """\
# Option reference

<!-- run -->
```
vapsr options show options/train/VapSR/train_VapSR_x4_DF2K.yml
```

This command prints an option file as it is read, with the defaults of all keys that it leaves out. `python docs/generate.py`
writes this page from `vapsr_arch/options/schema.py`.

Option files are BasicSR's, checked strictly: an unknown key, a wrong value or a network argument that does not exist is an error
that names the file, the key and the nearest known one. A key that is left empty (`~`) has its default. Numbers may be written
`1e-3`. Sections with a `type` take the arguments of that class or function. Classes of your own and of other repositories come by
`plugins` ([extending.md](extending.md)); the keys that only such a class knows are not checked.

**In an editor.** The first line of the files in `options/` names a JSON schema:
`# yaml-language-server: $schema=../schema.json`. Editors with YAML's language server, such as VS Code with the extension YAML,
check and complete option files by it. The path starts at the option file's folder: a copy beside the folder `options` needs
`$schema=options/schema.json`. Elsewhere, `vapsr options schema > schema.json` writes the schema.

**Images** are paired by name. Grey images are read as RGB, 16 bits as 8, alpha is dropped; the log says so.
"""
COMMANDS = """\
# Command reference

<!-- run -->
```
vapsr --help
```

This command lists the others, and `vapsr COMMAND --help` describes one. `python docs/generate.py` writes this page from
`vapsr_arch/cli/`.
Exit codes: 0, all is done; 1, bad input, or some images failed; 2, faults in options or arguments.
"""
# Sections of option files in the order of the page: (heading, definition in the JSON schema).
SECTIONS = (
    ('At the top', None), ('`datasets.*`', 'Dataset'), ('`datasets.*.io_backend`', 'IOBackend'), ('`path`', 'Paths'),
    ('`train`', 'Train'), ('`train.optim_g`', 'Optimizer'), ('`train.scheduler`, steps', 'MultiStep'),
    ('`train.scheduler`, cosine', 'CosineRestart'), ('`train.nan_guard`', 'NanGuard'), ('`val`', 'Validation'),
    ('`logger`', 'Logger'), ('`logger.wandb`', 'Wandb'), ('`dist_params`', 'Distributed'))
_PATCHES = re.compile(r'(<!-- generated: patches -->\n).*?(<!-- end -->)', re.DOTALL)


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')


def _row(*cells: str) -> str:
    return f'| {" | ".join(map(_cell, cells))} |'


def _values(field: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if 'anyOf' in field:
        return ' or '.join(_values(form) for form in field['anyOf'] if form not in ({'type': 'null'}, {'const': False}))
    if 'enum' in field or 'const' in field:
        return ', '.join(f'`{value}`' for value in field.get('enum', [field.get('const')]))
    limits = [f'{sign} {field[key]}' for key, sign in (('minimum', '≥'), ('exclusiveMinimum', '>'), ('maximum', '≤'),
                                                       ('exclusiveMaximum', '<')) if key in field]
    kind = {'integer': 'whole number', 'number': 'number', 'boolean': 'true, false', 'string': 'text', 'array': 'list'}
    words = kind.get(field.get('type'), 'section')
    if words == 'list':
        words += ' of ' + {'text': 'texts'}.get(_values(field['items']), 'numbers')
    return f'{words} {", ".join(limits)}'.strip()


def _default(key: str, field: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return 'required'
    default = field.get('default')
    if default is None or isinstance(default, dict):
        return ''
    return f'`{str(default).lower() if isinstance(default, bool) else default}`'


def options_page() -> str:
    """The option reference, from the JSON schema."""
    schema = json_schema()
    lines = [OPTIONS]
    for heading, definition in SECTIONS:
        section = schema['$defs'][definition] if definition else schema
        lines += [f'## {heading}', '']
        if definition and section.get('description'):
            lines += [' '.join(section['description'].split()), '']
        lines += ['| key | values | default | meaning |', '|---|---|---|---|']
        lines += [_row(f'`{key}`', _values(field), _default(key, field, section.get('required', [])), field['description'])
                  for key, field in section['properties'].items()]
        lines.append('')
    return '\n'.join(lines)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, 'commands'):
        yield name, command
    for each, inner in getattr(command, 'commands', {}).items():
        yield from _commands(inner, f'{name} {each}')


def _metavar(parameter: Any, annotation: Any) -> str:
    """What a value is called: as the parameter says, else its choices, else its type."""
    if parameter.metavar or getattr(parameter, 'is_flag', False):
        return parameter.metavar or ''
    parts = [annotation]
    while isinstance(parts[0], UnionType) or get_origin(parts[0]) in (Annotated, Union, list):
        parts = get_args(parts[0])
    if get_origin(parts[0]) is Literal:
        return '|'.join(get_args(parts[0]))
    return {int: 'N', str: 'TEXT', Path: 'PATH'}[parts[0]]


def _parameter(parameter: Any, annotation: Any) -> tuple[str, str, str]:
    """Name, default and meaning of an argument or an option."""
    metavar = _metavar(parameter, annotation).replace('|', ' or ')  # GitHub and mkdocs read \| in code differently
    options = [f'`{option}`' for option in parameter.opts]
    name = f'`{metavar}`' if parameter.param_type_name == 'argument' else f'{", ".join(options)} `{metavar}`'
    default = '' if str(parameter.default) in ('None', 'False', '', '()') else f'`{parameter.default}`'
    return name.removesuffix(' ``'), 'required' if parameter.required else default, parameter.help or ''


def commands_page() -> str:
    """The command reference, from typer."""
    lines = [COMMANDS]
    for name, command in _commands(typer.main.get_command(app), 'vapsr'):
        lines += [f'## {name}', '', inspect.cleandoc(command.help or ''), '']
        annotations = inspect.signature(command.callback).parameters
        rows = [_row(*_parameter(parameter, annotations[parameter.name].annotation)) for parameter in command.params
                if parameter.name in annotations and not getattr(parameter, 'hidden', False)]
        if rows:
            lines += ['| argument | default | meaning |', '|---|---|---|', *rows, '']
    return '\n'.join(lines)


def architecture_page() -> str:
    """docs/architecture.md with the table of what is patched in BasicSR."""
    from vapsr_arch.pipeline.registration import register
    register()
    from vapsr_arch.pipeline.patches import PATCHES
    rows = [_row(f'`{patch.owner.removeprefix("basicsr.").replace(":", ".")}.{patch.name}`', f'`{patch.where}`', patch.why,
                 f'`{patch.test}`') for patch in PATCHES]
    table = '\n'.join(['| replaced, in `basicsr` | defined or called at | why | test |', '|---|---|---|---|', *rows])
    text = (DOCS / 'architecture.md').read_text(encoding='utf-8')
    return _PATCHES.sub(lambda found: f'{found[1]}\n{table}\n\n{found[2]}', text)


PAGES = {'options.md': options_page, 'commands.md': commands_page, 'architecture.md': architecture_page}


def main() -> None:
    """Writes the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding='utf-8')


if __name__ == '__main__':
    main()
