"""The arguments that BasicSR's training and testing share, and their way back into BasicSR's form."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vapsr_arch.errors import OptionsError

OptionFile = Annotated[Path, typer.Option('-opt', '--opt', metavar='FILE', help='The option file, YAML.')]
Launcher = Annotated[Literal['none', 'pytorch', 'slurm'],
                     typer.Option(help='How the processes were started; none for a single one.')]
LocalRank = Annotated[int, typer.Option('--local_rank', '--local-rank', hidden=True)]
ForceYml = Annotated[list[str] | None, typer.Option('--force_yml', metavar='KEY:KEY=VALUE ...',
                                                    help='Set single keys, such as train:ema_decay=0.99.')]

# `--force_yml` takes several values, as in BasicSR; all but the first arrive as extra arguments.
SETTINGS = {'allow_extra_args': True}


def basicsr_arguments(context: typer.Context, is_train: bool, opt: Path, launcher: str, local_rank: int,
                      force_yml: list[str] | None) -> list[str]:
    """The command line in BasicSR's form.

    Raises:
        OptionsError: There are arguments that belong to no option, or the option file has faults.
    """
    from vapsr_arch.options import load_options
    arguments = ['-opt', str(opt), '--launcher', launcher, '--local_rank', str(local_rank)]
    if context.args and not force_yml:
        raise OptionsError(f'unexpected argument {context.args[0]!r}; see `vapsr {context.info_name} --help`')
    if force_yml:
        force_yml = [*force_yml, *context.args]
        arguments += ['--force_yml', *force_yml]
    load_options(opt, is_train, force_yml or [])  # most faults are so told before the seconds that torch takes
    return arguments
