"""What the data sets take from BasicSR: importable also in a process that starts with them, such as a loader's worker.

Workers that are not forked (macOS, Windows; by default Python 3.14) import a data set's module before anything else.
"""

from vapsr_arch.basicsr_imports import make_basicsr_importable

make_basicsr_importable()
from basicsr.data.data_sampler import EnlargedSampler  # noqa: E402
from basicsr.utils import bgr2ycbcr, get_root_logger, img2tensor  # noqa: E402

__all__ = ['EnlargedSampler', 'bgr2ycbcr', 'get_root_logger', 'img2tensor']
