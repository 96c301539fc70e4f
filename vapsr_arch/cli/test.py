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
    from vapsr_arch.test import test as run
    run(basicsr_arguments(context, opt, launcher, local_rank, force_yml))
