"""Which weights are taken from a checkpoint, and what is refused."""

import pickle
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from vapsr_arch.archs.pan_arch import PAN
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.checkpoints import load_state_dict
from vapsr_arch.weights.networks import build_network, load_into


def network(**arguments: int) -> VapSR:
    return VapSR(**(dict(scale=2, num_feat=8, num_block=1, d_atten=16) | arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def first(path: str, key: str | None = None) -> float:
    return load_state_dict(path, key)[0]['conv_first.bias'][0].item()


def filled(value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in network().state_dict().items()}


def test_the_ema_comes_first(folder: Path) -> None:
    torch.save({'params': filled(1), 'params_ema': filled(2)}, 'both.pth')
    assert first('both.pth') == 2
    assert first('both.pth', 'params') == 1


def test_files_of_other_shapes_load(folder: Path) -> None:
    torch.save(filled(3), 'raw.pth')
    torch.save({'params': {f'module.{name}': tensor for name, tensor in filled(4).items()}}, 'module.pth')
    torch.save({'state_dict': filled(5), 'epoch': 3}, 'wrapped.pth')
    safetensors.torch.save_file(filled(6), 'safe.safetensors')
    assert [first(name) for name in ('raw.pth', 'module.pth', 'wrapped.pth', 'safe.safetensors')] == [3, 4, 5, 6]
    for name in ('raw.pth', 'module.pth', 'wrapped.pth', 'safe.safetensors'):
        load_into(network(), name)


def test_absent_key_lists_those_present(folder: Path) -> None:
    torch.save({'params': filled(1), 'ema': filled(2)}, 'a.pth')
    with pytest.raises(VapsrError, match=r"a.pth has no weights under 'params_ema'; it has 'params', 'ema'"):
        load_state_dict('a.pth', 'params_ema')
    torch.save({'one': filled(2), 'two': filled(2)}, 'b.pth')
    with pytest.raises(VapsrError, match=r"b.pth has no weights under a known key; it has 'one', 'two': name one with"):
        load_state_dict('b.pth')
    torch.save(filled(1), 'c.pth')
    with pytest.raises(VapsrError, match=r"under 'params'; its weights are under no key: leave param_key_g out"):
        load_state_dict('c.pth', 'params')


class Evil:
    def __reduce__(self) -> tuple:
        return Path('pwned').touch, ()


def test_files_that_are_no_checkpoints(folder: Path) -> None:
    with pytest.raises(VapsrError, match=r'none.pth: there is no such checkpoint'):
        load_state_dict('none.pth')
    Path('text.pth').write_text('hello')
    with pytest.raises(VapsrError, match=r'text.pth is not a checkpoint'):
        load_state_dict('text.pth')
    for content in ('junk', 'junk\n', '', 'R', '0', 't', '(', 'I1\n'):  # each is another error of torch's unpickler
        Path('junk.pth').write_text(content)
        with pytest.raises(VapsrError, match=r'junk\.pth is not a checkpoint'):
            load_state_dict('junk.pth')
    Path('text.safetensors').write_text('hello')
    with pytest.raises(VapsrError, match=r'text.safetensors is not a safetensors file'):
        load_state_dict('text.safetensors')
    torch.save({'params': filled(1)}, 'whole.pth')
    Path('cut.pth').write_bytes(Path('whole.pth').read_bytes()[:-300])
    with pytest.raises(VapsrError, match=r'cut\.pth is not a checkpoint, or is damaged: [^.]*$'):
        load_state_dict('cut.pth')
    Path('evil.pth').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(VapsrError, match=r'evil.pth is not a checkpoint of weights alone'):
        load_state_dict('evil.pth')
    assert not Path('pwned').exists()


def test_wrong_scale_names_layer_shapes_and_what_the_file_is(folder: Path) -> None:
    torch.save({'params': network(scale=3).state_dict()}, 'x3.pth')
    with pytest.raises(VapsrError) as error:
        load_into(network(scale=2), 'x3.pth')
    assert str(error.value) == (
        'x3.pth does not fit VapSR: upsampler.2.weight differs in shape (file and network: 27x56x3x3 and 12x56x3x3); the '
        'file is a VapSR(num_in_ch=3, num_out_ch=3, scale=3, num_feat=8, num_block=1, d_atten=16, conv_groups=1)')


def test_wrong_network_names_the_layer(folder: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 3, 1).state_dict(), 'other.pth')
    with pytest.raises(VapsrError, match=r'other.pth does not fit VapSR: conv_first.weight \(8x3x3x3\) is not in the file, nor'):
        load_into(network(), 'other.pth')
    with pytest.raises(VapsrError, match=r'other.pth does not fit VapSR'):  # not one layer fits
        load_into(network(), 'other.pth', strict=False)
    torch.save(network(num_block=2).state_dict(), 'longer.pth')
    with pytest.raises(VapsrError, match=r'body.1.proj_1.weight \(16x8x1x1\) is not in the network, nor 11 more'):
        load_into(network(), 'longer.pth')


def test_not_strict_loads_what_fits_and_says_so(folder: Path) -> None:
    torch.save(filled(7), 'x2.pth')
    target = network(scale=3)
    said = load_into(target, 'x2.pth', strict=False)
    assert said == ("VapSR: 18 of 20 tensors loaded from x2.pth; the network keeps its own upsampler.2.weight, upsampler.2.bias; "
                    "the file's are not used: upsampler.2.weight, upsampler.2.bias")
    assert target.conv_first.bias[0] == 7


def test_the_network_that_the_weights_determine_is_built(folder: Path) -> None:
    own = network()
    torch.save({'params': own.state_dict()}, 'own.pth')
    built = build_network('own.pth')
    assert isinstance(built, VapSR) and built.scale == 2 and not built.training
    assert all(torch.equal(tensor, own.state_dict()[name]) for name, tensor in built.state_dict().items())


@pytest.mark.parametrize('scale', [2, 3])
def test_the_scale_of_a_pan_is_determined(folder: Path, scale: int) -> None:
    torch.save(PAN(nf=8, unf=6, nb=1, scale=scale).state_dict(), 'pan.pth')
    assert build_network('pan.pth', scale).scale == scale


@pytest.mark.parametrize(('weights', 'scale', 'words'), [
    ({'weight': torch.ones(1)}, None, 'these weights belong to no network known here (VapSR, IMDN'),
    (network().state_dict(), 3, 'w.pth holds a VapSR for x2, not x3'),
    (network().state_dict() | {'more': torch.ones(1)}, None, 'w.pth looks like a VapSR, but does not fit it: more (1)'),
])
def test_weights_that_build_no_network_are_refused(folder: Path, weights: dict, scale: int | None, words: str) -> None:
    torch.save(weights, 'w.pth')
    with pytest.raises(VapsrError, match=re.escape(words)):
        build_network('w.pth', scale)
