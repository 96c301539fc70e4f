"""Training: BasicSR's loop with the plugin loaded. `python -m vapsr_arch.train -opt FILE` is what torchrun starts."""

import os
import sys
from collections.abc import Sequence


def train(arguments: Sequence[str]) -> None:
    """Trains as an option file says; experiments are written under the current folder.

    On SIGTERM and Ctrl-C it finishes the iteration, saves, and raises SystemExit with 143 or 130.

    Args:
        arguments: BasicSR's: `-opt FILE`, `--launcher`, `--auto_resume`, `--debug`, `--local_rank`, `--force_yml`.

    Raises:
        VapsrError: The options or the images do not allow it.
    """
    from vapsr_arch import plugin
    plugin.load()
    from basicsr.train import train_pipeline

    from vapsr_arch.models.stopping import stop_signals
    sys.argv = ['vapsr train', *arguments]  # where BasicSR reads its arguments
    with stop_signals.noted():
        train_pipeline(os.getcwd())


if __name__ == '__main__':
    from vapsr_arch.cli import main
    main(['train', *sys.argv[1:]])
