"""`vapsr weights convert`: which weights, what is said about them, what loads the file, what is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from tests.conftest import Finished
from vapsr_arch.archs.pan_arch import PAN
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.weights.checkpoints import load_state_dict
from vapsr_arch.weights.networks import build_network, load_into

ARGUMENTS = dict(num_in_ch=3, num_out_ch=3, scale=2, num_feat=8, num_block=1, d_atten=16, conv_groups=1)
Vapsr = Callable[..., Finished]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained() -> VapSR:
    """A network whose EMA lies in `trained.pth`, with the weights of a parallel module beside it."""
    network, ema = (VapSR(**ARGUMENTS) for _ in range(2))
    torch.save({'params': {f'module.{name}': tensor for name, tensor in network.state_dict().items()},
                'params_ema': {f'module.{name}': tensor for name, tensor in ema.state_dict().items()}}, 'trained.pth')
    return ema


def metadata(path: str) -> dict[str, str]:
    with safetensors.safe_open(path, framework='pt') as file:
        return file.metadata()


@pytest.mark.parametrize('out', ['alone.safetensors', 'alone.pth'])
def test_the_ema_is_written_and_loads(out: str, trained: VapSR, vapsr: Vapsr) -> None:
    result = vapsr('weights', 'convert', 'trained.pth', out)
    assert result == (0, f'{out}: VapSR(num_in_ch=3, num_out_ch=3, scale=2, num_feat=8, num_block=1, d_atten=16, '
                         f'conv_groups=1), 12,356 parameters, from trained.pth, key params_ema\n', '')
    again = VapSR(**ARGUMENTS)
    load_into(again, out)  # strictly
    for network in (again, build_network(out)):
        for name, tensor in trained.state_dict().items():
            assert torch.equal(network.state_dict()[name], tensor), name
    assert load_state_dict(out)[1] == ('params' if out.endswith('.pth') else None)


def test_a_safetensors_file_says_what_it_is_and_was(trained: VapSR, vapsr: Vapsr) -> None:
    assert vapsr('weights', 'convert', 'trained.pth', 'alone.safetensors').code == 0
    said = metadata('alone.safetensors')
    assert json.loads(said.pop('arguments')) == ARGUMENTS
    assert said == {'format': 'pt', 'network': 'VapSR', 'source': 'trained.pth', 'key': 'params_ema',
                    'source_sha256': hashlib.sha256(Path('trained.pth').read_bytes()).hexdigest()}


def test_there_and_back_gives_the_same_weights(trained: VapSR, vapsr: Vapsr) -> None:
    assert vapsr('weights', 'convert', 'trained.pth', 'there.safetensors').code == 0
    assert vapsr('weights', 'convert', 'there.safetensors', 'back.pth').code == 0
    back = torch.load('back.pth', weights_only=True)
    assert list(back) == ['params'] and set(back['params']) == set(trained.state_dict())
    assert all(torch.equal(back['params'][name], tensor) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize(('scale', 'determined'), [(2, False), (3, False), (4, True)])
def test_a_scale_that_the_weights_do_not_determine_is_not_written(scale: int, determined: bool, vapsr: Vapsr) -> None:
    torch.save(PAN(nf=8, unf=6, nb=1, scale=scale).state_dict(), 'pan.pth')
    assert ('scale=4' in vapsr('weights', 'convert', 'pan.pth', 'pan.safetensors').out) is determined
    said = metadata('pan.safetensors')
    assert said['network'] == 'PAN' and ('scale' in json.loads(said['arguments'])) is determined
    assert 'key' not in said


def test_weights_of_other_networks_in_any_layout_are_written(vapsr: Vapsr) -> None:
    shared = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    torch.save({'state_dict': {'a': shared, 'b': shared, 'c': shared[:2].half()}}, 'other.pth')
    result = vapsr('weights', 'convert', 'other.pth', 'other.safetensors')
    assert result.out == 'other.safetensors: unknown network, 120 parameters, from other.pth, key state_dict\n'
    written = safetensors.torch.load_file('other.safetensors')
    assert torch.equal(written['a'], shared) and torch.equal(written['b'], shared)
    assert torch.equal(written['c'], shared[:2].half()) and written['c'].dtype == torch.float16
    assert not {'network', 'arguments'} & set(metadata('other.safetensors'))


def test_a_file_is_replaced_by_force_alone(trained: VapSR, vapsr: Vapsr) -> None:
    Path('old.safetensors').write_text('old')
    result = vapsr('weights', 'convert', 'trained.pth', 'old.safetensors')
    assert (result.code, result.err) == (
        1, 'Error: old.safetensors exists already: choose another name, or replace it with --force\n')
    assert Path('old.safetensors').read_text() == 'old'
    assert vapsr('weights', 'convert', 'trained.pth', 'old.safetensors', '--force').code == 0
    assert vapsr('weights', 'convert', 'old.safetensors', 'old.safetensors', '--force').code == 0  # in place
    assert torch.equal(build_network('old.safetensors').conv_first.weight, trained.conv_first.weight)


@pytest.mark.parametrize(('source', 'out', 'code', 'words'), [
    ('none.pth', 'out.safetensors', 1, 'none.pth: there is no such checkpoint'),
    ('text.pth', 'out.safetensors', 1, 'text.pth is not a checkpoint'),
    ('trained.pth', 'out.onnx', 2, 'out.onnx: the suffix must be .safetensors or .pth'),
    ('trained.pth', 'text.pth/out.pth', 1, 'text.pth'),
])
def test_what_cannot_be_done_is_one_sentence(source: str, out: str, code: int, words: str, trained: VapSR, folder: Path,
                                             vapsr: Vapsr) -> None:
    Path('text.pth').write_text('hello')
    result = vapsr('weights', 'convert', source, out)
    assert result.code == code and result.err.startswith('Error: ' + words) and result.err.count('\n') == 1
    assert sorted(path.name for path in folder.iterdir()) == ['text.pth', 'trained.pth']


def test_the_authors_checkpoints_come_through_whole(reference: Path, vapsr: Vapsr) -> None:
    for path in sorted((reference / 'weights').glob('*.pth')):
        assert vapsr('weights', 'convert', str(path), f'{path.stem}.safetensors').code == 0
        theirs, _ = load_state_dict(path)
        ours, _ = load_state_dict(f'{path.stem}.safetensors')
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs), path
