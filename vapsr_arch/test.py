"""Testing: BasicSR's loop with the plugin loaded. `python -m vapsr_arch.test -opt FILE` is the same as `vapsr test`."""

import os
import sys
from collections.abc import Sequence


def test(arguments: Sequence[str]) -> None:
    """Tests a checkpoint as an option file says; results are written under the current folder.

    Args:
        arguments: BasicSR's: `-opt FILE`, `--launcher`, `--local_rank`, `--force_yml`.

    Raises:
        VapsrError: The options, the images or the checkpoint do not allow it.
    """
    from vapsr_arch import plugin
    plugin.load()
    from basicsr.test import test_pipeline

    from vapsr_arch.distributed import together
    sys.argv = ['vapsr test', *arguments]  # where BasicSR reads its arguments
    with together():
        test_pipeline(os.getcwd())


if __name__ == '__main__':
    from vapsr_arch.cli import main
    main(['test', *sys.argv[1:]])
