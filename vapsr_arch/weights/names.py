"""Where weights are found by name: those shipped with the package, and those that `vapsr weights get` downloaded.

Shipped are `VapSR-S_xN` for losslessly stored images, and `VapSR-S_xN_photo` for photographs compressed by a camera or a web
site.
"""

import os
import re
from pathlib import Path

from vapsr_arch.errors import VapsrError

DEFAULT = 'VapSR-S_x4'
DEFAULT_SCALE = 4
_SHIPPED = 'VapSR-S_x'
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
        VapsrError: There is no such file, and none of that name; those available are listed.
    """
    if Path(weights).is_file():
        return Path(weights)
    found = _named(str(weights))
    if found:
        return found
    names = sorted({path.stem for folder in _FOLDERS if folder.is_dir() for path in folder.iterdir()
                    if path.suffix in _SUFFIXES})
    how = how_to_download(weights) or '`vapsr weights list` names those that can be downloaded'
    raise VapsrError(f'{weights}: there is no such file of weights, nor weights of that name: there are {", ".join(names)}; '
                     f'{how}')


def how_to_download(weights: str | os.PathLike) -> str | None:
    """Which command downloads the weights of a name or of a file that is not there; None if none does."""
    from vapsr_arch.weights.authors import CHECKPOINTS
    stem = Path(weights).name.removesuffix('.pth')
    return f'`vapsr weights get {stem}` downloads it' if stem in CHECKPOINTS else None


def default_weights(scale: int | None = None, photo: bool = False) -> Path:
    """The shipped weights for a scale.

    Args:
        scale: The scale; None for 4.
        photo: Whether they are for photographs with the marks of lossy compression, if there are such for the scale.

    Raises:
        VapsrError: There are none for this scale; those available are named.
    """
    scale = scale or DEFAULT_SCALE
    name = f'{_SHIPPED}{scale}'
    found = (photo and _named(f'{name}_photo')) or _named(name)
    if not found:
        shipped = ', '.join(shipped_weights()) or 'none'
        raise VapsrError(f'no weights for x{scale} are shipped, only {shipped}: take another scale, or name weights of your own '
                         f'(--weights)')
    return found


def shipped_weights() -> dict[str, int]:
    """The names of the shipped weights, each with its scale."""
    names = sorted({path.stem for folder in _FOLDERS for path in folder.glob(f'{_SHIPPED}*.pth')})
    matches = (re.fullmatch(r'VapSR-S_x(\d+)(_photo)?', name) for name in names)
    return {match[0]: int(match[1]) for match in matches if match}


def is_shipped(path: str | os.PathLike) -> bool:
    """Whether a file is one of the shipped weights."""
    path = Path(path)
    return path.name.startswith(_SHIPPED) and path.resolve().parent in [folder.resolve() for folder in _FOLDERS]


def _named(name: str) -> Path | None:
    """The file of weights of a name."""
    paths = (folder / f'{name}{suffix}' for folder in _FOLDERS for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)
