"""`vapsr test`."""

import typer

from vapsr_arch.cli.pipeline_options import ForceYml, Launcher, LocalRank, OptionFile, basicsr_arguments


def test(
    context: typer.Context,
    opt: OptionFile,
    launcher: Launcher = 'none',
    force_yml: ForceYml = None,
    local_rank: LocalRank = 0,
) -> None:
    """Test a checkpoint on the sets of an option file; writes results/NAME in the current folder."""
    arguments = basicsr_arguments(context, False, opt, launcher, local_rank, force_yml)
    from vapsr_arch.test import test as run
    run(arguments)
