"""Files that ask for code, for memory or for endless work, and damaged ones: each ends in a sentence, and nothing is run."""

import io
import os
import pickle
import random
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vapsr_arch.archs.bsrn_arch import BSRN
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights import allowance, checkpoints, pickles
from vapsr_arch.weights.checkpoints import read_weights
from vapsr_arch.weights.networks import build_network, load_into

STATE = dict(VapSR(scale=2, num_feat=8, num_block=1, d_atten=16).state_dict())
MEMORY = 2**30


class Asks:
    """Pickled as a call."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def with_tensor(name: str, tensor: torch.Tensor) -> dict[Any, torch.Tensor]:
    return {**STATE, name: tensor}


def doubled() -> dict:
    content: dict = {'x': 1}
    for _ in range(40):
        content = {'a': content, 'b': content, 'model': content}
    return content


FIRST = STATE['conv_first.weight']
HOSTILE: dict[str, Callable[[], Any]] = {
    'code': lambda: {'params': STATE, 'more': Asks(os.system, 'touch pwned')},
    'eval': lambda: Asks(eval, 'open("pwned", "w")'),
    'memory': lambda: {'params': STATE, 'more': Asks(bytearray, 2**33)},
    'blocks': lambda: with_tensor('body.999999999.proj_1.weight', torch.ones(16, 8, 1, 1)),
    'very many blocks': lambda: with_tensor('body.' + '9' * 5000 + '.proj_1.weight', torch.ones(16, 8, 1, 1)),
    'blocks without numbers': lambda: with_tensor('body.x.y', torch.ones(3)),
    'keys that are numbers': lambda: {'params': dict(enumerate(STATE.values()))},
    'a name of half a character': lambda: with_tensor('\ud800.weight', torch.ones(3)),
    'a key that is a tuple': lambda: {**STATE, (1, 2): torch.ones(3)},
    'meta': lambda: with_tensor('conv_first.weight', torch.empty_like(FIRST, device='meta')),
    'quantized': lambda: with_tensor('conv_first.weight', torch.quantize_per_tensor(FIRST, 0.1, 0, torch.qint8)),
    'sparse': lambda: with_tensor('conv_first.weight', FIRST.to_sparse()),
    'nested': lambda: with_tensor('conv_first.weight', torch.nested.nested_tensor([torch.ones(3), torch.ones(4)])),
    'complex': lambda: with_tensor('conv_first.weight', FIRST.cfloat()),
    'int8': lambda: with_tensor('conv_first.weight', FIRST.to(torch.int8)),
    'int64': lambda: with_tensor('conv_first.bias', torch.ones(8, dtype=torch.long)),
    'bool': lambda: with_tensor('conv_first.weight', FIRST > 0),
    'no channels': lambda: with_tensor('conv_body.weight', torch.ones(0, 0, 3, 3)),
    'repeated': lambda: with_tensor('conv_first.weight', torch.ones(1).expand(2**15, 2**15, 2**15)),
    'wide': lambda: with_tensor('conv_first.weight', torch.ones(2**17, 3, 3, 3, dtype=torch.half)),
    'a scalar': lambda: with_tensor('conv_first.weight', torch.tensor(1.)),
    'doubled': doubled, 'a number': lambda: 5, 'nothing': dict, 'a list': lambda: {'params': list(STATE.values())},
    'a module': lambda: torch.nn.Conv2d(3, 3, 1)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; no code may have run there, nor much memory have been taken."""
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert not Path('pwned').exists()


def refused(path: str) -> str:
    """What is said of a file; training's loader refuses it, too."""
    with pytest.raises(VapsrError):
        load_into(VapSR(scale=2, num_feat=8, num_block=1, d_atten=16), path)
    return refused_by_build(path)


def refused_by_build(path: str) -> str:
    with pytest.raises(VapsrError, match=path) as error:
        build_network(path)
    assert '\n' not in str(error.value) and 'not enough memory' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('kind', HOSTILE)
def test_a_sentence_is_said(kind: str) -> None:
    torch.save(HOSTILE[kind](), 'w.pth')
    refused('w.pth')


def test_lists_within_lists_without_end_are_only_passed_over() -> None:
    file = io.BytesIO()
    torch.save({'params': STATE}, file)
    archive, lists = zipfile.ZipFile(file), b']' + b'](' * 20_000 + b'e' * 20_000 + b'0'
    with zipfile.ZipFile('w.pth', 'w') as out:
        for record in archive.infolist():
            data = archive.read(record)
            out.writestr(record.filename, data[:2] + lists + b'0' + data[2:] if record.filename.endswith('data.pkl') else data)
    assert torch.equal(build_network('w.pth').conv_first.weight, FIRST)


PICKLES = {
    'a hash that takes for ever': b'\x80\x02}K\x01\x85' + b'2\x86' * 60 + b'K\x01s.',
    'a large memo': b'\x80\x02Nr\xff\xff\xff\xff.',
    'bytes that are not there': b'\x80\x04\x8e' + (2**33).to_bytes(8, 'little') + b'.',
    'a long number': b'\x80\x02I' + b'9' * 10_000 + b'\n.', 'many instructions': b'\x80\x02' + b'N0' * 75_000 + b'N.'}


@pytest.mark.parametrize('kind', PICKLES)
def test_a_pickle_made_by_hand(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, '_MAX_STEPS', 100_000)
    with zipfile.ZipFile('w.pth', 'w') as out:
        out.writestr('w/data.pkl', PICKLES[kind])
    refused('w.pth')


def test_other_files() -> None:
    with zipfile.ZipFile('zip.pth', 'w', zipfile.ZIP_DEFLATED) as out:
        out.writestr('w/data.pkl', bytes(10**7))
    assert 'it is compressed or encrypted' in refused('zip.pth')
    torch.save({'params': STATE}, 'whole.pth')
    with zipfile.ZipFile('nested.pth', 'w') as out:
        out.write('whole.pth')
    assert 'it is a zip file that torch.save did not write' in refused('nested.pth')
    with zipfile.ZipFile('nested.pth', 'w') as out:
        out.write('whole.pth', 'w/data.pkl')
    assert 'its pickle is damaged' in refused('nested.pth')
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 3, 1)), 'script.pth')
    assert 'it is a program of TorchScript' in refused('script.pth')
    Path('bare.pth').write_bytes(pickle.dumps({'a': 1}))
    assert 'is not a checkpoint of weights alone' in refused('bare.pth')
    Path('header.pth').write_bytes((2**40).to_bytes(8, 'little') + b'{')
    assert 'its header is larger than that of any checkpoint' in refused('header.pth')


@pytest.mark.parametrize(('wrap', 'name'), [
    (lambda network: network, 'vapsr_arch.archs.vapsr_arch.VapSR'),
    (lambda network: {'epoch': 3, 'model': network}, 'vapsr_arch.archs.vapsr_arch.VapSR'),
    (torch.nn.DataParallel, 'torch.nn.parallel.data_parallel.DataParallel')])
def test_a_whole_network_is_named_as_one(wrap: Callable[[torch.nn.Module], Any], name: str) -> None:
    network = VapSR(scale=2, num_feat=8, num_block=1, d_atten=16)
    torch.save(wrap(network), 'w.pth')
    assert refused('w.pth') == (
        f'w.pth holds a whole network as a Python object ({name}), which is not loaded because it can run code: save its '
        f'weights with torch.save(network.state_dict(), ...) where it was made')


def test_a_network_far_larger_than_its_file_is_not_built() -> None:
    """One wide layer would have spandrel build 4 GiB here; what a relative position takes grows with its fourth power."""
    from vapsr_arch.torchvision_operators import define_torchvision_operators
    define_torchvision_operators()
    pytest.importorskip('spandrel')
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SwinIR import SwinIR
    esrgan = ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()
    compact = Compact(num_feat=8, num_conv=2, upscale=3).state_dict()
    swinir = SwinIR(embed_dim=12, depths=[2], num_heads=[2], window_size=8, upscale=2, upsampler='pixelshuffledirect')
    swinir = swinir.state_dict()
    indices = [name for name in swinir if name.endswith('relative_position_index')]
    for state in (esrgan | {'model.0.weight': torch.zeros(2**14, 3, 3, 3)},
                  compact | {'body.0.weight': torch.zeros(1).expand(2**15, 3, 3, 3)},
                  swinir | dict.fromkeys(indices, torch.zeros(1, dtype=torch.int64).expand(15_000, 50))):
        torch.save(state, 'w.pth')
        assert refused_by_build('w.pth') == 'w.pth: a network of such layers would be far larger than the file'


def test_blocks_that_consist_of_names_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small tensor makes a block of forty layers; a file has room for a million of them."""
    monkeypatch.setattr(allowance, '_MAX_TENSORS', 300)
    monkeypatch.setattr(checkpoints, '_FEW', 20)
    torch.save(BSRN(num_feat=16, num_block=1).state_dict()
               | dict.fromkeys((f'B{number}.c5.weight' for number in range(2, 12)), torch.zeros(1)), 'w.pth')
    assert refused_by_build('w.pth') == 'w.pth: a network of such layers would be far larger than the file'


def test_not_all_of_thousands_of_dictionaries_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    torch.save({f'params{number}': {'x': torch.ones(3)} for number in range(300)}, 'w.pth')
    torch.save({f'params{number}.x': torch.ones(3) for number in range(1000)}, 'prefixes.pth')
    for path in ('w.pth', 'prefixes.pth'):
        tried.clear()
        read_weights(path, fits=lambda weights: tried.append(weights) or 0)
        assert 100 < len(tried) <= 200


def test_one_byte_changed_is_found() -> None:
    """In the data of a tensor, which lie in the middle of the file; also in tensors that are not taken."""
    torch.save({'params': STATE, 'params_ema': STATE | {'conv_first.weight': FIRST + 1}}, 'w.pth')
    whole = Path('w.pth').read_bytes()
    for tensor in (FIRST, FIRST + 1):
        place = whole.index(tensor.numpy().tobytes()) + 5
        Path('w.pth').write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        assert 'is not what it was written with' in refused('w.pth')


@pytest.mark.parametrize('old', [False, True])
def test_mutated_files_load_or_are_refused(old: bool) -> None:
    draw, buffer = random.Random(0), io.BytesIO()
    torch.save({'params': STATE}, buffer, _use_new_zipfile_serialization=not old)
    for _ in range(60):
        data = bytearray(buffer.getvalue())
        for _ in range(draw.choice((1, 3, 30))):
            data[draw.randrange(min(len(data), draw.choice((600, 10**9))))] = draw.randrange(256)
        Path('w.pth').write_bytes(data[:draw.choice((None, draw.randrange(len(data))))])
        try:
            build_network('w.pth')
        except VapsrError as error:
            assert 'w.pth' in str(error)
