"""`vapsr train`."""

from typing import Annotated

import typer

from vapsr_arch.cli.pipeline_options import ForceYml, Launcher, LocalRank, OptionFile, Plugins, checked_entries


def train(
    context: typer.Context,
    opt: OptionFile,
    launcher: Launcher = 'none',
    auto_resume: Annotated[bool, typer.Option('--auto_resume', help='Resume from the newest training state.')] = False,
    debug: Annotated[bool, typer.Option('--debug', help='Log, save and validate all the time.')] = False,
    dry_run: Annotated[bool, typer.Option('--dry-run', help='Do two iterations and a validation, keep nothing, and say '
                                                            'how long training will take and how large it gets.')] = False,
    force_yml: ForceYml = None,
    plugin: Plugins = None,
    local_rank: LocalRank = 0,
) -> None:
    """Train a network as an option file says; writes experiments/NAME in the current folder."""
    from vapsr_arch.models.stopping import ended_at_once
    with ended_at_once():
        entries = checked_entries(context, True, opt, force_yml)
        from vapsr_arch.pipeline import dry_run as rehearsal
        from vapsr_arch.pipeline import running
    if dry_run:
        rehearsal.dry_run(opt, launcher=launcher, debug=debug, force_yml=entries, plugins=plugin or ())
    else:
        running.train(opt, launcher=launcher, auto_resume=auto_resume, debug=debug, force_yml=entries, plugins=plugin or ())
