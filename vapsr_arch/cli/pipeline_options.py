"""The arguments that `vapsr train` and `vapsr test` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vapsr_arch.errors import OptionsError

OptionFile = Annotated[Path, typer.Option('-opt', '--opt', metavar='FILE', help='The option file, YAML.')]
Launcher = Annotated[Literal['none', 'pytorch', 'slurm'],
                     typer.Option(help='How the processes were started; none for a single one.')]
LocalRank = Annotated[int, typer.Option('--local_rank', '--local-rank', hidden=True,
                                        help='torch.distributed.launch passes it; the environment says the same.')]
ForceYml = Annotated[list[str] | None, typer.Option('--force_yml', metavar='KEY:KEY=VALUE ...',
                                                    help='Set single keys, such as train:ema_decay=0.99.')]
Plugins = Annotated[list[str] | None, typer.Option('--plugin', metavar='MODULE|FILE.py', help='Import a module or a file that '
                                                   'registers networks, losses, data sets, models or metrics; may be given '
                                                   'again. Its code runs.')]

# `--force_yml` takes several values, as in BasicSR; all but the first arrive as extra arguments.
SETTINGS = {'allow_extra_args': True}


def entries_of(context: typer.Context, force_yml: list[str] | None) -> list[str]:
    """The entries of `--force_yml`.

    Raises:
        OptionsError: There are arguments that belong to no option.
    """
    if context.args and not force_yml:
        raise OptionsError(f'unexpected argument {context.args[0]!r}; see `vapsr {context.info_name} --help`')
    return [*force_yml, *context.args] if force_yml else []


def checked_entries(context: typer.Context, is_train: bool, opt: Path, force_yml: list[str] | None) -> list[str]:
    """The entries of `--force_yml`.

    Most faults of the option file are found here, before the seconds that torch takes.

    Raises:
        OptionsError: There are arguments that belong to no option, or the option file has faults.
    """
    from vapsr_arch.options.reading import load_options
    entries = entries_of(context, force_yml)
    load_options(opt, is_train, entries)
    return entries
