"""`vapsr options`."""

from pathlib import Path
from typing import Annotated

import typer

from vapsr_arch.cli.pipeline_options import SETTINGS, ForceYml, entries_of

app = typer.Typer(no_args_is_help=True, help='The schema of option files, and what an option file is read as.')


@app.command()
def schema() -> None:
    """Print the JSON schema of option files, by which editors check and complete them; options/schema.json is this."""
    from vapsr_arch.options.json_schema import json_text
    print(json_text(), end='')


@app.command(context_settings=SETTINGS)
def show(
    context: typer.Context,
    opt: Annotated[Path, typer.Argument(metavar='FILE', help='An option file.')],
    force_yml: ForceYml = None,
) -> None:
    """Check an option file and print it as YAML with the defaults of all keys that it leaves out."""
    import yaml

    from vapsr_arch.options.json_schema import resolved
    print(yaml.safe_dump(resolved(opt, entries_of(context, force_yml)), sort_keys=False, allow_unicode=True), end='')
