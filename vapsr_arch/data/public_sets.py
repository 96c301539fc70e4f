"""The public training and test sets: where they are, and how they are laid out under `datasets/`.

Sums: the md5 of torchSR's `torchsr/datasets`, the sha256 of TensorFlow Datasets' `url_checksums/div2k.txt`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vapsr_arch.archives import unpack
from vapsr_arch.data.batch import claimed
from vapsr_arch.downloads import Source, download
from vapsr_arch.errors import OptionsError, VapsrError

_DIV2K = 'https://data.vision.ee.ethz.ch/cvl/DIV2K/'
_EDSR = 'https://cv.snu.ac.kr/research/EDSR/'
_BENCHMARK = Source(_EDSR + 'benchmark.tar', 'md5:4ace41d33c2384b97e6b320cd0afd6ba', 2**30)
_DIV2K_TRAIN = Source(
    _DIV2K + 'DIV2K_train_HR.zip', 'sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335', 2**33)
_DIV2K_VALID = Source(
    _DIV2K + 'DIV2K_valid_HR.zip', 'sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc', 2**30)


class _Part(NamedTuple):
    """An archive, and which of its members go where within the set's folder."""

    source: Source
    pattern: str
    replacement: str


def _benchmark(name: str) -> tuple[_Part, ...]:
    # LR images are called babyx4.png there: named as their HR images here, they pair without a template.
    return (_Part(_BENCHMARK, rf'(?:\./)?benchmark/{name}/(HR)/([^/]+)', r'\1/\2'),
            _Part(_BENCHMARK, rf'(?:\./)?benchmark/{name}/(LR_bicubic/X[234])/([^/]+?)(?:x[234])?(\.\w+)', r'\1/\2\3'))


SETS: dict[str, tuple[_Part, ...]] = {
    **{name: _benchmark(name) for name in ('Set5', 'Set14', 'B100', 'Urban100')},
    'DIV2K': (
        _Part(_DIV2K_TRAIN,
              r'DIV2K_train_HR/([^/]+\.png)', r'HR/\1'),
        _Part(_DIV2K_VALID,
              r'DIV2K_valid_HR/([^/]+\.png)', r'valid_HR/\1')),
    'Flickr2K': (
        _Part(Source(_EDSR + 'Flickr2K.tar', 'md5:5d3f39443d5e9489bff8963f8f26cb03', 2**36),
              r'(?:\./)?Flickr2K/Flickr2K_HR/([^/]+\.png)', r'HR/\1'),),
}


def fetch(names: Sequence[str], root: Path, mirror: str | None = None, force: bool = False) -> None:
    """Downloads sets and unpacks them into `root/NAME`; what exists already is kept.

    The archives stay in `root/archives`, where one that was downloaded in another way can be put.

    Args:
        names: Of `SETS`.
        root: The folder of all sets.
        mirror: An address to take the archives from instead, by their names.
        force: Unpack into a folder that holds something else.

    Raises:
        OptionsError: A set is not known.
        VapsrError: An archive cannot be downloaded or unpacked, or a folder holds something else.
    """
    for name in names:
        if name not in SETS:
            raise OptionsError(f'{name} is not a set that can be downloaded; known: {", ".join(SETS)}')
    for name in names:
        folder = root / name
        if (folder / '.complete').is_file():
            print(f'{folder} is complete already: kept')
            continue
        with claimed(folder, {'made_by': 'vapsr data fetch', 'set': name}, force):
            for part in SETS[name]:
                archive = root / 'archives' / part.source.name
                download(part.source.from_mirror(mirror), archive)
                if not unpack(archive, folder, part.pattern, part.replacement):
                    raise VapsrError(f'{archive} has no files of {name}: it is not what {part.source.url} was; remove it')
            (folder / '.complete').touch()
        print(f'{folder} is complete')
