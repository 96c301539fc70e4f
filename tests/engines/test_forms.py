"""A fast form that does not give what torch gives is not used: a warning says why, and a plainer one is."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.inference.export_helpers import small_network
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines import fused_vab, torch_engines
from vapsr_arch.engines.forms import TOLERANCE, Form, first_sound, trial
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.engines.triton_attention import FusedAttention
from vapsr_arch.errors import VapsrError

X, EXPECTED = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 8, 8), 0.5)


def fail(x: Tensor) -> Tensor:
    raise RuntimeError('CUDA error: no kernel image is available\nand more')


WRONG = {
    'RuntimeError: CUDA error: no kernel image is available': fail,
    'its result is not finite': lambda x: EXPECTED * float('nan'),
    "its result differs by 1.0e-02 from that of torch's plain layers": lambda x: EXPECTED + 0.01,
    'its result is of the shape (1, 3, 8, 7) in place of (1, 3, 8, 8)': lambda x: EXPECTED[..., 1:],
}


@pytest.mark.parametrize('reason', WRONG)
def test_a_form_that_is_wrong_is_passed_over_with_one_warning(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    forms = [Form('the fast form', 'fp32', lambda: WRONG[reason]), Form('the plain one', 'fp32', lambda: lambda x: EXPECTED)]
    assert first_sound(forms, X, EXPECTED)(X) is EXPECTED
    assert caplog.messages == [f'the fast form does not work on this machine ({reason}); the plain one is used.']
    with pytest.raises(VapsrError, match='choose another device, precision or engine'):
        first_sound(forms[:1], X, EXPECTED)


def test_a_form_that_cannot_be_made_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    forms = [Form('fast', 'fp32', lambda: fail(X)), Form('plain', 'fp32', lambda: lambda x: EXPECTED)]
    first_sound(forms, X, EXPECTED)
    assert 'no kernel image' in caplog.text


def test_short_types_may_differ_by_more() -> None:
    shifted = EXPECTED + TOLERANCE['fp16'] * 0.9
    assert first_sound([Form('fast', 'fp16', lambda: lambda x: shifted)], X, EXPECTED)(X) is shifted
    with pytest.raises(VapsrError, match='differs by'):
        first_sound([Form('fast', 'fp32', lambda: lambda x: shifted)], X, EXPECTED)


def test_weights_that_are_not_finite_are_nobodys_fault() -> None:
    nothing = EXPECTED * float('nan')
    assert first_sound([Form('fast', 'fp32', lambda: lambda x: nothing)], X, nothing)(X) is nothing


@pytest.fixture
def network() -> VapSR:
    torch.manual_seed(0)
    return VapSR(num_feat=16, num_block=1, d_atten=16, scale=2).eval()


SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    'RuntimeError': fail, 'not finite': lambda x: x * float('nan'), 'differs': lambda x: x + 1}


@pytest.mark.parametrize('reason', SPOILT)
@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_a_kernel_of_c_that_is_wrong_is_not_used(reason: str, engine: str, network: VapSR, monkeypatch: pytest.MonkeyPatch,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    if fused_vab.kernel(torch.float32) is None:
        pytest.skip('no C compiler')
    if engine == 'onnxruntime':
        pytest.importorskip('onnx')
        pytest.importorskip('onnxruntime')
    monkeypatch.setattr(fused_vab, '_run', lambda x, *rest: SPOILT[reason](x))
    plain = copy.deepcopy(network)
    run = load_engine(network, device='cpu', engine=engine)
    message, = caplog.messages
    assert message.startswith('the fused attention block in fp32') and reason in message
    x = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(run(x), plain(x), atol=2e-5, rtol=1e-4)


def test_a_sound_kernel_is_used_without_a_word(network: VapSR, caplog: pytest.LogCaptureFixture) -> None:
    if fused_vab.kernel(torch.float32) is None:
        pytest.skip('no C compiler')
    run = load_engine(network, device='cpu')
    assert any(isinstance(module, fused_vab.FusedVAB) for module in run.run.network.modules()) and not caplog.messages


@pytest.mark.parametrize('reason', SPOILT)
def test_a_compiled_network_that_is_wrong_is_not_used(reason: str, network: VapSR, monkeypatch: pytest.MonkeyPatch,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch, 'compile', lambda network, **options: lambda x: SPOILT[reason](network(x)))
    plain = copy.deepcopy(network)
    try:
        run = load_engine(network, device='cpu', engine='compile')
    except VapsrError as error:
        pytest.skip(str(error))
    message, = caplog.messages
    assert message.startswith('the compiled network in fp32 does not work') and reason in message
    x = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(run(x), plain(x), atol=2e-5, rtol=1e-4)


class _NotInShortTypes(nn.Module):
    """A third-party network that upscales by 2, but not in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3) * float('nan')
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_precision_that_a_network_does_not_have_becomes_fp32(caplog: pytest.LogCaptureFixture) -> None:
    run = load_engine(_NotInShortTypes(), device='cpu', precision='bf16')
    assert run.dtype == torch.float32
    assert caplog.messages == ['torch in bf16 on the CPU does not work on this machine (its result is not finite); torch in fp32 '
                               'on the CPU is used.']


@pytest.fixture
def broken_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that torch sees, and on which nothing works: what goes there raises."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    moved = nn.Module.to

    def to(self: nn.Module, *arguments: object, **options: object) -> nn.Module:
        if 'cuda' in arguments:
            raise RuntimeError('CUDA error: no kernel image is available for execution on the device')
        return moved(self, *arguments, **options)
    monkeypatch.setattr(nn.Module, 'to', to)
    return None


def test_a_gpu_that_does_not_work_is_left_for_the_cpu(broken_gpu: None, network: VapSR, caplog: pytest.LogCaptureFixture) -> None:
    run = load_engine(copy.deepcopy(network), precision='fp16')
    assert run.device == torch.device('cpu') and run.dtype == torch.float32
    assert 'torch in fp16 on the GPU' in caplog.text and 'no kernel image' in caplog.text
    x = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(run(x), network(x), atol=2e-5, rtol=1e-4)
    with pytest.raises(VapsrError, match=r'torch in fp32 on the GPU does not work on this machine \(.*: choose another device'):
        load_engine(network, device='cuda')


@pytest.mark.parametrize('reason', SPOILT)
def test_a_triton_kernel_that_is_wrong_is_not_used(reason: str, network: VapSR, monkeypatch: pytest.MonkeyPatch,
                                                   caplog: pytest.LogCaptureFixture) -> None:
    """The GPU is the CPU under another name; its kernel is spoilt."""
    monkeypatch.setattr(torch_engines.importlib.util, 'find_spec', lambda name: True)
    moved, placed = nn.Module.to, torch_engines._Placed
    monkeypatch.setattr(nn.Module, 'to', lambda self, *arguments, **options: moved(
        self, *('cpu' if argument == 'cuda' else argument for argument in arguments), **options))
    monkeypatch.setattr(torch_engines, '_Placed', lambda network, device, precision: placed(network, 'cpu', precision))
    monkeypatch.setattr(FusedAttention, 'forward', lambda self, x: SPOILT[reason](x))
    run = torch_engines.TorchEngine(network, 'cuda', 'fp32')
    message, = caplog.messages
    assert message.startswith('the Triton kernel in fp32 on the GPU does not work') and reason in message
    assert message.endswith('torch in fp32 on the GPU is used.')
    assert not any(isinstance(module, FusedAttention) for module in run.run.network.modules())


def test_a_mac_without_its_gpu_is_reported(network: VapSR, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    with pytest.raises(VapsrError, match=r'there is no GPU of a Mac that torch can use here \(MPS\): choose the device cpu'):
        load_engine(network, device='mps')


@pytest.mark.parametrize('name', ['VapSR', 'RFDN', 'PAN'])
def test_the_trial_is_of_a_size_that_the_network_takes(name: str) -> None:
    network = small_network(name)
    x, expected = trial(network)
    assert min(x.shape[2:]) >= network.min_size and expected.shape[2] == network.scale * x.shape[2]
    assert x.min() >= 0 and x.max() <= 1
