"""The fused attention block gives what the plain network gives, wherever and however it runs."""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vapsr_arch.archs.common import native
from vapsr_arch.archs.vapsr_arch import VAB, VapSR
from vapsr_arch.engines import fused_vab
from vapsr_arch.engines.fused_vab import FusedVAB, fuse
from vapsr_arch.weights.checkpoints import load_state_dict

VAPSR = dict(num_feat=48, num_block=3)
VAPSR_S = dict(num_feat=32, num_block=3, conv_groups=2)


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def compiled() -> None:
    if fused_vab._library() is None:
        pytest.skip('no C compiler')


@pytest.fixture
def fresh_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No library has been loaded, and none is kept."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    fused_vab._library.cache_clear()
    yield
    fused_vab._library.cache_clear()


def random_network(**arguments: int) -> VapSR:
    torch.manual_seed(0)
    network = VapSR(**arguments).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def random_vab(d_model: int = 48) -> VAB:
    torch.manual_seed(0)
    return VAB(d_model, 64).eval().requires_grad_(False)


def assert_same(fused: nn.Module, plain: nn.Module, x: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arguments', [VAPSR, VAPSR_S], ids=['VapSR', 'VapSR-S'])
@pytest.mark.parametrize('threads', [1, 2, 7])
def test_outputs_are_those_of_the_plain_network(arguments: dict[str, int], threads: int, compiled: None) -> None:
    torch.set_num_threads(threads)
    plain = random_network(**arguments)
    fused = fuse(plain)
    assert sum(isinstance(module, FusedVAB) for module in fused.modules()) == 3
    for height, width in ((1, 1), (1, 40), (40, 1), (7, 5), (17, 33), (70, 90)):
        assert_same(fused, plain, torch.rand(2, 3, height, width))


@pytest.mark.parametrize('height, width', [
    (9, 255), (9, 256), (9, 257), (9, 264), (9, 265), (5, 520), (5, 521), (30, 400), (24, 800)])
def test_images_wider_than_a_strip_have_no_seams(height: int, width: int, compiled: None) -> None:
    vab = random_vab()
    x = torch.randn(1, 48, height, width)
    for threads in (1, 3, 4):
        torch.set_num_threads(threads)
        assert_same(FusedVAB(vab), vab, x)


@pytest.mark.parametrize('batch', [1, 2, 3, 4])
def test_the_number_of_threads_changes_nothing(batch: int, compiled: None) -> None:
    fused = FusedVAB(random_vab())
    x = torch.randn(batch, 48, 61, 83)
    outputs = []
    for threads in (1, 1, 2, 3, 4, 6):
        torch.set_num_threads(threads)
        outputs.append(fused(x))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.fixture
def bf16(compiled: None) -> None:
    if fused_vab.kernel(torch.bfloat16) is None:
        pytest.skip('this processor does not multiply bf16 (AVX512_BF16)')


def bf16_operands(vab: VAB, x: torch.Tensor) -> torch.Tensor:
    """What the block gives in float32 where the operands of convolutions alone are rounded, and the output."""
    def rounded(values: torch.Tensor) -> torch.Tensor:
        return values.bfloat16().float()

    attention = vab.atten_branch
    u = F.gelu(vab.proj_1(x))
    product = u * attention.depthwise_dilated(rounded(attention.depthwise(rounded(attention.pointwise(rounded(u))))))
    y = x + vab.proj_2(rounded(product))
    return vab.pixel_norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).bfloat16()


@pytest.mark.parametrize('d_model, height, width', [
    (48, 1, 1), (32, 7, 5), (48, 33, 17), (48, 9, 256), (48, 9, 257), (32, 9, 264), (32, 5, 521), (48, 24, 800)])
def test_bf16_rounds_operands_alone(d_model: int, height: int, width: int, bf16: None) -> None:
    vab = random_vab(d_model).bfloat16()
    fused, vab = FusedVAB(vab), copy.deepcopy(vab).float()
    x = torch.randn(3, d_model, height, width).bfloat16()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        got = fused(x)
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got, bf16_operands(vab, x.float()), rtol=2**-7, atol=2**-8)


def test_bf16_is_nearer_to_float32_than_torch_is(bf16: None) -> None:
    exact = random_network(**VAPSR)
    half = copy.deepcopy(exact).bfloat16()
    x = torch.rand(1, 3, 60, 70)
    with torch.inference_mode():
        ours, plain = ((network(x.bfloat16()).float() - exact(x)).pow(2).mean() for network in (fuse(half), half))
    assert ours < plain


def test_precisions_without_a_kernel_stay_plain(compiled: None, monkeypatch: pytest.MonkeyPatch,
                                                caplog: pytest.LogCaptureFixture) -> None:
    fused_vab._say_once.cache_clear()
    plain = random_network(**VAPSR).half()
    with caplog.at_level('INFO', 'basicsr'):
        fused = fuse(plain)
    assert not any(isinstance(module, FusedVAB) for module in fused.modules())
    assert 'Attention blocks in torch.float16 are not fused on this processor.' in caplog.messages


def test_compiled_networks_keep_the_kernel(compiled: None) -> None:
    called = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    vab = random_vab()
    assert_same(torch.compile(FusedVAB(vab), backend=backend, fullgraph=True), vab, torch.randn(1, 48, 8, 9))
    assert 'vapsr_arch.fused_vab.default' in called and not any('conv' in name for name in called)


def test_the_operator_is_sound(compiled: None) -> None:
    fused = FusedVAB(random_vab())
    for x in (torch.randn(2, 48, 8, 9), torch.randn(2, 48, 8, 9).contiguous(memory_format=torch.channels_last)):
        torch.library.opcheck(torch.ops.vapsr_arch.fused_vab, (x, fused.parameters_packed, 64))


def test_any_memory_format_is_taken(compiled: None) -> None:
    vab = random_vab()
    x = torch.randn(2, 48, 19, 23)
    wide = torch.randn(2, 60, 19, 30)
    for view in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3), x.flip(3), wide[:, 6:54, :, 5:25]):
        assert_same(FusedVAB(vab), vab, view)


def test_several_python_threads_may_call_at_once(compiled: None) -> None:
    torch.set_num_threads(2)
    vab = random_vab()
    fused = FusedVAB(vab)
    images = [torch.randn(1, 48, 64 + index, 64) for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for ours, image in zip(pool.map(fused, images), images):
            torch.testing.assert_close(ours, vab(image), rtol=1e-5, atol=1e-5)


def test_gelu_is_exact_over_its_range(compiled: None) -> None:
    """A block that is LayerNorm(x + gelu(x))."""
    vab = VAB(16, 16).eval().requires_grad_(False)
    for parameter in vab.parameters():
        parameter.zero_()
    vab.proj_1.weight[:, :, 0, 0] = vab.proj_2.weight[:, :, 0, 0] = torch.eye(16)
    vab.atten_branch.depthwise_dilated.bias.fill_(1)
    vab.pixel_norm.weight.fill_(1)
    for reach in (2, 12, 1000):
        x = torch.linspace(-reach, reach, 16 * 4000).view(1, 16, 40, 100)
        torch.testing.assert_close(FusedVAB(vab)(x), vab(x), rtol=0, atol=2e-6)


def test_what_the_kernel_does_not_take_runs_plain(compiled: None, caplog: pytest.LogCaptureFixture) -> None:
    fused_vab._say_once.cache_clear()
    vab = random_vab()
    x = torch.randn(1, 48, 9, 9)
    fused = FusedVAB(vab)
    with caplog.at_level('INFO', 'basicsr'):
        leaf = x.clone().requires_grad_()
        fused(leaf).sum().backward()
        assert leaf.grad is not None
        assert fused(x[:0]).shape == (0, 48, 9, 9)
        expected = vab(x)
        with torch.autocast('cpu', torch.bfloat16):
            torch.testing.assert_close(fused(x), vab(x), rtol=0, atol=0)
        assert_same(torch.jit.trace(fused, x), vab, x)
        torch.testing.assert_close(fused.double()(x.double()).float(), expected, rtol=1e-5, atol=1e-5)
        with pytest.raises(RuntimeError, match='channels'):
            fused(torch.randn(1, 32, 9, 9).double())
    assert sum('torch\'s own layers run' in record.message for record in caplog.records) == 1


def test_channels_that_are_no_multiple_of_16_stay_plain(compiled: None, caplog: pytest.LogCaptureFixture) -> None:
    fused_vab._say_once.cache_clear()
    plain = random_network(num_feat=24, num_block=2, d_atten=32)
    with caplog.at_level('INFO', 'basicsr'):
        fused = fuse(plain)
    assert not any(isinstance(module, FusedVAB) for module in fused.modules())
    assert sum('24 and 32 channels are not fused' in record.message for record in caplog.records) == 1
    assert_same(fused, plain, torch.rand(1, 3, 8, 8))


def test_without_a_compiler_the_network_stays_plain(fresh_library: None, monkeypatch: pytest.MonkeyPatch,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv('PATH', '')
    plain = random_network(**VAPSR)
    with caplog.at_level('INFO', 'basicsr'):
        fuse(plain)
        fused = fuse(plain)
    assert sum('could not be compiled' in record.message for record in caplog.records) == 1
    assert_same(fused, plain, torch.rand(1, 3, 8, 8))


def test_the_given_network_stays_as_it_is(compiled: None) -> None:
    plain = random_network(**VAPSR).train()
    keys = list(plain.state_dict())
    fused = fuse(plain)
    assert plain.training and all(parameter.requires_grad for parameter in plain.parameters())
    assert list(plain.state_dict()) == keys
    assert not any(isinstance(module, FusedVAB) for module in plain.modules())
    assert not fused.training and not any(parameter.requires_grad for parameter in fused.parameters())


def test_a_lone_vab_is_fused(compiled: None) -> None:
    vab = random_vab(32)
    assert_same(fuse(vab), vab, torch.randn(1, 32, 11, 13))


def test_a_kept_library_needs_no_compiler(fresh_library: None, compiled: None, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    kept, = (tmp_path / 'vapsr_arch').iterdir()
    fused_vab._library.cache_clear()
    monkeypatch.setenv('PATH', '')
    assert fused_vab._library() is not None
    monkeypatch.setattr(native, 'FLAGS', (*native.FLAGS, '-g'))  # other flags, another library
    fused_vab._library.cache_clear()
    assert fused_vab._library() is None
    assert [kept] == list((tmp_path / 'vapsr_arch').iterdir())


def test_a_damaged_library_is_compiled_again(fresh_library: None, compiled: None, tmp_path: Path) -> None:
    kept, = (tmp_path / 'vapsr_arch').iterdir()
    kept.unlink()
    kept.write_bytes(b'')
    fused_vab._library.cache_clear()
    assert fused_vab._library() is not None
    assert kept.stat().st_size


@pytest.mark.parametrize('damage', ['cut off', 'without its sum', 'changed', 'too short for a sum'])
def test_a_library_that_is_not_what_was_compiled_is_never_loaded(damage: str, fresh_library: None, compiled: None, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    kept, = (tmp_path / 'vapsr_arch').iterdir()
    content = kept.read_bytes()
    damaged = {'cut off': content[:len(content) // 2], 'without its sum': content[:-32], 'too short for a sum': content[:20],
               'changed': content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]}[damage]
    kept.unlink()
    kept.write_bytes(damaged)
    fused_vab._library.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv('PATH', '')
        assert fused_vab._library() is None  # and the process lives
    fused_vab._library.cache_clear()
    assert fused_vab._library() is not None and kept.read_bytes() == content


@pytest.mark.parametrize('folder', ['', 'cache', './cache', '~/cache'])
def test_a_relative_cache_folder_is_ignored(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', folder)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert native._kept(fused_vab.SOURCE).parent == tmp_path / 'home/.cache/vapsr_arch'
    assert [path.name for path in tmp_path.iterdir()] == ['home']


def test_a_folder_that_others_can_write_to_is_not_trusted(fresh_library: None, tmp_path: Path) -> None:
    (tmp_path / 'vapsr_arch').mkdir()
    (tmp_path / 'vapsr_arch').chmod(0o777)
    fused_vab._library()
    assert not list((tmp_path / 'vapsr_arch').iterdir())


def test_the_authors_checkpoint_upscales_a_photograph_alike(reference: Path, compiled: None) -> None:
    image = cv2.imread(str(reference / 'data/Set5/LR_bicubic/X4/bird.png'))
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).unsqueeze(0) / 255
    weights, _ = load_state_dict(reference / 'weights/VapSR_X4.pth')
    plain = VapSR(**VapSR.infer(weights)).eval()
    plain.load_state_dict(weights)
    with torch.inference_mode():
        assert (fuse(plain)(x) - plain(x)).abs().max() < 2e-5
