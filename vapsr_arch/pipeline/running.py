"""Training and testing: BasicSR's pipelines on a run. What `vapsr train` and `vapsr test` call, and scripts may."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from vapsr_arch.archs.common.float32 import use_exact_float32
from vapsr_arch.files import full_disk_explained
from vapsr_arch.memory import keep_freed_memory
from vapsr_arch.models.stopping import ended_at_once, stop_signals
from vapsr_arch.pipeline.processes import own_rank, together
from vapsr_arch.pipeline.registration import register
from vapsr_arch.pipeline.run_lock import run_lock


def train(option_file: str | Path, *, launcher: str = 'none', auto_resume: bool = False, debug: bool = False,
          force_yml: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
    """Trains as an option file says; experiments are written under the current folder.

    On SIGTERM and Ctrl-C SystemExit is raised, with 143 or 130. A VapSRModel finishes the iteration and saves first; other
    models keep what they saved last.

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
    with ended_at_once():
        register()
        from basicsr.train import train_pipeline

        from vapsr_arch.models.out_of_memory import killed_workers_explained
        from vapsr_arch.pipeline.patches import applied
        from vapsr_arch.pipeline.run import Run
    with stop_signals.noted(), together(), killed_workers_explained(), full_disk_explained():
        run = Run(option_file, True, launcher=launcher, auto_resume=auto_resume, debug=debug, force_yml=force_yml,
                  plugins=plugins)
        with _alone('experiments', run.name, launcher), applied(run):
            train_pipeline(os.getcwd())


def test(option_file: str | Path, *, launcher: str = 'none', force_yml: Sequence[str] = (), plugins: Sequence[str] = ()) -> None:
    """Tests a checkpoint as an option file says; results are written under the current folder.

    float32 is computed without TF32, so that scores do not depend on the GPU.

    Args:
        option_file, launcher, force_yml, plugins: As for `train`.

    Raises:
        VapsrError: The options, the images or the checkpoint do not allow it.
    """
    with ended_at_once():
        register()
        from basicsr.test import test_pipeline

        from vapsr_arch.pipeline.patches import applied
        from vapsr_arch.pipeline.run import Run
    use_exact_float32()
    keep_freed_memory()
    with together():
        run = Run(option_file, False, launcher=launcher, force_yml=force_yml, plugins=plugins)
        with _alone('results', run.name, launcher), applied(run):
            test_pipeline(os.getcwd())


def _alone(folder: str, name: str, launcher: str) -> AbstractContextManager[None]:
    """Holds a run's name for this process, or for all that a launcher has started, by the first of them.

    Raises:
        OptionsError: torchrun has started several, and `launcher` does not say so.
        VapsrError: Another run of that name is at work.
    """
    return nullcontext() if own_rank(launcher) else run_lock(Path(folder), name)
