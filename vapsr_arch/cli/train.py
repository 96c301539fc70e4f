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
    force_yml: ForceYml = None,
    local_rank: LocalRank = 0,
) -> None:
    """Train a network as an option file says; writes experiments/NAME in the current folder."""
    arguments = basicsr_arguments(context, True, opt, launcher, local_rank, force_yml)
    from vapsr_arch.train import train as run
    run([*arguments, *(['--auto_resume'] if auto_resume else []), *(['--debug'] if debug else [])])
