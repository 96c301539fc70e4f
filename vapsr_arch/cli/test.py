"""`vapsr test`."""

import typer

from vapsr_arch.cli.pipeline_options import ForceYml, Launcher, LocalRank, OptionFile, Plugins, checked_entries


def test(
    context: typer.Context,
    opt: OptionFile,
    launcher: Launcher = 'none',
    force_yml: ForceYml = None,
    plugin: Plugins = None,
    local_rank: LocalRank = 0,
) -> None:
    """Test a checkpoint on the sets of an option file; writes results/NAME in the current folder."""
    entries = checked_entries(context, False, opt, force_yml)
    from vapsr_arch.pipeline.running import test as run
    run(opt, launcher=launcher, force_yml=entries, plugins=plugin or ())
