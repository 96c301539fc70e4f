"""Training and testing: BasicSR's pipelines on a run. What `vapsr train` and `vapsr test` call, and scripts may."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vapsr_arch.files import full_disk_explained
from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.pipeline.registration import register


def train(option_file: str | Path, *, launcher: str = 'none', auto_resume: bool = False, debug: bool = False,
          force_yml: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
    """Trains as an option file says; experiments are written under the current folder.

    On SIGTERM and Ctrl-C a VapSRModel finishes the iteration, saves, and raises SystemExit with 143 or 130.

    Args:
        option_file: The option file.
        launcher: What started this process: `none`, `pytorch` (torchrun) or `slurm`.
        auto_resume: Resume from the newest training state.
        debug: Log, save and validate all the time, under the name debug_NAME.
        force_yml: `KEY:KEY=VALUE` entries that are set first.
        plugins: Modules and files to import first.

    Raises:
        VapsrError: The options, the images or the disk do not allow it.
    """
    keep_freed_memory()
    register()
    from basicsr.train import train_pipeline

    from vapsr_arch.models.out_of_memory import killed_workers_explained
    from vapsr_arch.models.stopping import stop_signals
    from vapsr_arch.pipeline.patches import applied
    from vapsr_arch.pipeline.processes import together
    from vapsr_arch.pipeline.run import Run
    with stop_signals.noted(), together(), killed_workers_explained(), full_disk_explained():
        run = Run(option_file, True, launcher=launcher, auto_resume=auto_resume, debug=debug, force_yml=force_yml,
                  plugins=plugins)
        with applied(run), _alone(run.name, launcher, 'experiments'):
            train_pipeline(os.getcwd())


def test(option_file: str | Path, *, launcher: str = 'none', force_yml: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
    """Tests a checkpoint as an option file says; results are written under the current folder.

    Args:
        option_file, launcher, force_yml, plugins: As for `train`.

    Raises:
        VapsrError: The options, the images or the checkpoint do not allow it.
    """
    register()
    from basicsr.test import test_pipeline

    from vapsr_arch.pipeline.patches import applied
    from vapsr_arch.pipeline.processes import together
    from vapsr_arch.pipeline.run import Run
    with together():
        run = Run(option_file, False, launcher=launcher, force_yml=force_yml, plugins=plugins)
        with applied(run), _alone(run.name, launcher, 'results'):
            test_pipeline(os.getcwd())


@contextmanager
def _alone(name: str, launcher: str, folder: str) -> Iterator[None]:
    """Holds a run's name for this process, or for the processes that a launcher started together."""
    from vapsr_arch.pipeline.run_lock import run_lock
    if launcher != 'none' and os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) != '0':
        yield
        return
    with run_lock(Path(folder), name):
        yield
