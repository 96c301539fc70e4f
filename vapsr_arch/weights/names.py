"""Where weights are found by name: those shipped with the package, and those that `vapsr weights get` downloaded."""

import os
from pathlib import Path

from vapsr_arch.errors import VapsrError

DEFAULT = 'VapSR-S_x4'
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (Path('experiments/pretrained_models'),  # of the current folder
            _PACKAGE / 'pretrained',  # as installed
            _PACKAGE.parent / 'experiments/pretrained_models')  # in a checkout
_SUFFIXES = ('.pth', '.safetensors', '.onnx')


def find_weights(weights: str | os.PathLike) -> Path:
    """The file that holds weights.

    Args:
        weights: A file, or a name: `VapSR-S_x4` is shipped, others are those of the files in `experiments/pretrained_models`.

    Raises:
        VapsrError: There is no such file, and none of that name; those there are are listed.
    """
    if Path(weights).is_file():
        return Path(weights)
    for folder in _FOLDERS:
        for suffix in _SUFFIXES:
            path = folder / f'{weights}{suffix}'
            if path.is_file():
                return path
    names = sorted({path.stem for folder in _FOLDERS if folder.is_dir() for path in folder.iterdir()
                    if path.suffix in _SUFFIXES})
    raise VapsrError(f'{weights}: there is no such file of weights, nor weights of that name: there are {", ".join(names)}; '
                     f'`vapsr weights list` names those that can be downloaded')
