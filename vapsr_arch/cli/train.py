"""`vapsr train`."""

from typing import Annotated

import typer

from vapsr_arch.cli.pipeline_options import ForceYml, Launcher, LocalRank, OptionFile, basicsr_arguments


def train(
    context: typer.Context,
    opt: OptionFile,
    launcher: Launcher = 'none',
    auto_resume: Annotated[bool, typer.Option('--auto_resume', help='Go on from the newest training state.')] = False,
    debug: Annotated[bool, typer.Option('--debug', help='Log, save and validate all the time.')] = False,
    dry_run: Annotated[bool, typer.Option('--dry-run', help='Do two iterations and a validation, keep nothing, and say '
                                                            'how long training will take and how large it gets.')] = False,
    force_yml: ForceYml = None,
    local_rank: LocalRank = 0,
) -> None:
    """Train a network as an option file says; writes experiments/NAME in the current folder."""
    arguments = basicsr_arguments(context, True, opt, launcher, local_rank, force_yml)
    if dry_run:
        from vapsr_arch.dry_run import dry_run as run
    else:
        from vapsr_arch.train import train as run
    run([*arguments, *(['--auto_resume'] if auto_resume else []), *(['--debug'] if debug else [])])
