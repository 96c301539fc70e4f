"""Training: BasicSR's loop with the plugin loaded. `python -m vapsr_arch.train -opt FILE` is what torchrun starts."""

import os
import sys
from collections.abc import Sequence

from vapsr_arch.memory import keep_freed_memory


def prepare(arguments: Sequence[str]) -> None:
    """Loads the plugin, and puts a command line where BasicSR reads it."""
    keep_freed_memory()
    from vapsr_arch import plugin
    plugin.load()
    sys.argv = ['vapsr train', *arguments]


def train(arguments: Sequence[str]) -> None:
    """Trains as an option file says; experiments are written under the current folder.

    On SIGTERM and Ctrl-C it finishes the iteration, saves, and raises SystemExit with 143 or 130.

    Args:
        arguments: BasicSR's: `-opt FILE`, `--launcher`, `--auto_resume`, `--debug`, `--local_rank`, `--force_yml`.

    Raises:
        VapsrError: The options, the images or the disk do not allow it.
    """
    prepare(arguments)
    from basicsr.train import train_pipeline

    from vapsr_arch.distributed import together
    from vapsr_arch.files import full_disk_explained
    from vapsr_arch.models.out_of_memory import killed_workers_explained
    from vapsr_arch.models.stopping import stop_signals
    with stop_signals.noted(), together(), killed_workers_explained(), full_disk_explained():
        train_pipeline(os.getcwd())


if __name__ == '__main__':
    from vapsr_arch.cli import main
    main(['train', *sys.argv[1:]])
