"""The authors' checkpoints: where they are, under which licence, and what they must be."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vapsr_arch.downloads import Source, download
from vapsr_arch.errors import OptionsError
from vapsr_arch.options.faults import nearest


class Checkpoint(NamedTuple):
    repository: str
    path: str  # within the repository
    licence: str
    sha256: str

    @property
    def source(self) -> Source:
        # HEAD is the default branch, whatever its name.
        return Source(f'https://github.com/{self.repository}/raw/HEAD/{self.path}', f'sha256:{self.sha256}')


_NONE = 'none stated'
_REPOSITORIES = {
    'VapSR': ('zhoumumu/VapSR', '{}.pth', _NONE),
    'IMDN': ('Zheng222/IMDN', 'checkpoints/{}.pth', _NONE),
    'RFDN': ('njulj/RFDN', 'trained_model/{}.pth', 'MIT'),
    'BSRN': ('xiaom233/BSRN', 'experiments/pretrained_models/net_g_{}.pth', 'MIT'),
    'PAN': ('zhaohengyuan1/PAN', 'experiments/pretrained_models/{}.pth', _NONE),
}
_SUMS = {
    'VapSR': {
        'VapSR_X2': '6cbe6af3c18c16c8a2c9b83f484761693884f972e29a4a20e84f64b84d0a10cc',
        'VapSR_X3': '5c0052ea719174ea43e55f337655196fa1564ba2e0b04c3220a1312a18405a09',
        'VapSR_X4': 'fa6b84a174d8994eaaaa38156c9d751109b27c833bceeeb6018523e4d8a48ea0',
        'VapSR-S': '4ca434fcdd4abb327e281b3f7930fe9802b36d3d6acfbe785843fee5db7e0cfe',
    },
    'IMDN': {
        'IMDN_x2': '740b39653592bd3f49955a21cd9e16f2d37f2c413368cc09327601b8fbe42ce1',
        'IMDN_x3': '11b1716a19bc16e5e353e1db798d476169338e631eb170c82d765559888cb028',
        'IMDN_x4': 'e660c38221147217a136debeb99eb304d62d9c0f73ac421ed66281b619719714',
    },
    'RFDN': {
        'RFDN_AIM': '11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c',
    },
    'BSRN': {
        'BSRN_x2': '09bd1f85e017c7902e65a9c9770ee592efe3d013f6b5cf1fe7de8cabac4ba37d',
        'BSRN_x3': '6eb73a300aaec5029bc0de7f5ae85c02b8dcd8fdaf438c77f90272939fecca7e',
        'BSRN_x4': '47518e0f549f5696da0c84ca2d65bf50d789c7ac20e621909f5fd6c8c8d70bcb',
        'BSRN-S': 'f035e512bcecd2999af21999fdaeb6ed39a4492ac11d214b8164d27e6e958fec',
    },
    'PAN': {
        'PANx2_DF2K': 'fcf8ed48656abbaae46309ee91745684b80235a9c8b37a2d8fb0715a3ad3f00f',
        'PANx3_DF2K': '86491751d73645a8816a0d6ec62ccde6b22ce5da930e36b3b87f5437167fbc89',
        'PANx4_DF2K': '739fab99ee7b7058dab4d1b84aa2869bb9fc3995a1c08789c20355bee943833c',
    },
}
CHECKPOINTS = {
    name: Checkpoint(repository, path.format(name), licence, _SUMS[network][name])
    for network, (repository, path, licence) in _REPOSITORIES.items() for name in _SUMS[network]
}


def get_weights(names: Sequence[str], folder: Path, mirror: str | None = None) -> None:
    """Downloads checkpoints to `folder/NAME.pth`, with their licence shown; the sum is checked first.

    Args:
        names: Of `CHECKPOINTS`, with or without `.pth`.
        folder: Where they go.
        mirror: An address to take the files from instead, named as in the authors' repositories.

    Raises:
        OptionsError: A checkpoint is not known.
        VapsrError: It cannot be downloaded, or is not what it must be.
    """
    stems = [name.removesuffix('.pth') for name in names]
    for name in stems:
        if name not in CHECKPOINTS:
            raise OptionsError(f'{name} is not a checkpoint that `vapsr weights list` names{nearest(name, CHECKPOINTS)}')
    for name in stems:
        checkpoint = CHECKPOINTS[name]
        print(f'{name}: from https://github.com/{checkpoint.repository}, licence: {checkpoint.licence}')
        path = folder / f'{name}.pth'
        download(checkpoint.source.from_mirror(mirror), path)
        print(f'{path}: its sha256 is right')
