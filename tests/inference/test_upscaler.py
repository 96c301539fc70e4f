"""The Upscaler: tiles change nothing, every kind of image, memory, threads, no BasicSR."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import photograph
from vapsr_arch.archs import NETWORKS, VapSR
from vapsr_arch.archs.common.adapted import adapted, bare
from vapsr_arch.engines.graphs import metadata
from vapsr_arch.errors import VapsrError
from vapsr_arch.export.files import export_onnx
from vapsr_arch.inference import tile_sizes
from vapsr_arch.inference.upscaler import AUTO_HALO, Upscaler
from vapsr_arch.weights.networks import build_network


@pytest.fixture
def upscale(tiny_weights: Path) -> Callable[..., np.ndarray]:
    return lambda image, **options: Upscaler(tiny_weights, device='cpu', **options)(image)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[[Upscaler], list[tuple[int, int]]]:
    """Has the sizes of what an Upscaler's network sees noted."""
    def start(upscaler: Upscaler) -> list[tuple[int, int]]:
        sizes, engine = [], upscaler.engine

        class Noting:
            scale, min_size, halo = engine.scale, engine.min_size, engine.halo
            num_in_ch, tiles, side_by_side = engine.num_in_ch, engine.tiles, False

            def __call__(self, x: Tensor) -> Tensor:
                sizes.append(tuple(x.shape[-2:]))
                return engine(x)
        monkeypatch.setattr(upscaler, 'engine', Noting())
        return sizes
    return start


class _Plain:
    """An engine: each pixel becomes scale x scale such pixels, plus an offset."""

    scale, min_size, halo, num_in_ch, tiles, side_by_side = 2, 1, 0, 3, True, False

    def __init__(self, offset: float = 0) -> None:
        self.offset = offset

    def __call__(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) + self.offset


@pytest.fixture
def plain(tiny_weights: Path) -> Upscaler:
    upscaler = Upscaler(tiny_weights, device='cpu')
    upscaler.engine = _Plain()
    return upscaler


@pytest.mark.parametrize(('name', 'arguments'), [
    ('VapSR', dict(scale=3, num_feat=8, num_block=2, d_atten=16)), ('VapSR', dict(scale=4, num_feat=8, num_block=1, d_atten=16)),
    ('PAN', dict(scale=2, nf=8, unf=6, nb=2)), ('PAN', dict(scale=4, nf=8, unf=6, nb=2))], ids=str)
def test_full_halo_is_as_if_there_were_no_tiles(name: str, arguments: dict[str, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(NETWORKS[name](**arguments).state_dict(), tmp_path / 'net.pth')
    image = photograph(85, 107, 0).astype(np.uint16) * 257  # 16 bits show what 8 would hide
    whole = Upscaler(tmp_path / 'net.pth', device='cpu', tile=256)(image)
    for tile in (16, 23):
        tiled = Upscaler(tmp_path / 'net.pth', device='cpu', tile=tile, halo='full')(image)
        assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_the_result_is_the_networks(tiny_weights: Path, upscale: Callable[..., np.ndarray]) -> None:
    image = photograph(20, 30, 0)
    with torch.no_grad():
        expected = build_network(tiny_weights)(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    expected = expected[0].clamp(0, 1).mul(255).round().permute(1, 2, 0)
    assert np.array_equal(upscale(image), expected.numpy().astype(np.uint8))


def test_no_halo_shows_that_the_halo_matters(upscale: Callable[..., np.ndarray]) -> None:
    image = photograph(60, 60, 0)
    assert not np.array_equal(upscale(image, tile=20, halo=0), upscale(image))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_kinds_of_images_are_kept(shape: tuple[int, ...], dtype: type, plain: Upscaler) -> None:
    image = np.random.default_rng(0).integers(1, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    upscaled = plain(image)
    assert upscaled.dtype == dtype and np.array_equal(upscaled, image.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize('image', [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4), np.uint8),
                                   np.zeros((1, 4, 4, 3), np.uint8)])
def test_what_is_not_an_image_is_refused(image: np.ndarray, plain: Upscaler) -> None:
    with pytest.raises(ValueError, match='must be H x W'):
        plain(image)


@pytest.mark.parametrize('options', [dict(tile=0), dict(halo=-1)])
def test_sizes_that_make_no_sense_are_refused(options: dict[str, int], tiny_weights: Path) -> None:
    with pytest.raises(ValueError, match='tile must be 1 or more'):
        Upscaler(tiny_weights, device='cpu', **options)


def test_results_are_clipped(plain: Upscaler) -> None:
    plain.engine.offset = 0.5
    assert plain(np.full((2, 2), 200, np.uint8)).max() == 255


def test_alpha_does_not_ring(plain: Upscaler) -> None:
    image = np.zeros((6, 12, 4), np.uint8)
    image[:, 6:] = 255
    plain.engine.offset = 0.2  # as a network's faults would
    alpha = plain(image)[..., 3]
    assert (alpha[:, :10] == 0).all() and (alpha[:, 14:] == 255).all()


def test_hidden_colours_do_not_bleed_into_edges(upscale: Callable[..., np.ndarray]) -> None:
    image = np.full((20, 20, 4), 200, np.uint8)
    image[:, 10:, 3] = 0
    other = image.copy()
    other[:, 10:, :3] = 0
    assert np.array_equal(upscale(image), upscale(other))
    image[..., 3] = 0
    assert not np.array_equal(upscale(image)[..., :3], upscale(image // 2)[..., :3])  # all hidden: upscaled as they are


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_alpha_does_not_depend_on_tiles(dtype: type, plain: Upscaler) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, np.iinfo(dtype).max, (90, 300, 4), dtype, endpoint=True)
    image[..., 3] *= random.random(image.shape[:2]) < 1e-3  # few pixels are seen, some of them far from all others
    image[20:40, 200:230, 3] = random.integers(0, 256, (20, 30), np.uint8)
    whole = plain(image)
    plain._tile = 23
    assert np.array_equal(plain(image), whole)
    seen = image[..., 3] > 0
    assert np.array_equal(whole[::2, ::2, :3][seen], image[..., :3][seen])
    assert not np.array_equal(whole[::2, ::2, :3], image[..., :3])


def test_colours_far_from_all_that_is_seen_stay(plain: Upscaler) -> None:
    image = np.zeros((4, 200, 4), np.uint8)
    image[:, 0], image[:, 1:, :3] = 200, 9
    colours = plain(image)[::2, ::2, 0]
    assert (colours[:, :65] == 200).all() and (colours[:, 65:] == 9).all()


def test_images_smaller_than_the_network_takes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(NETWORKS['RFDN'](num_feat=8, num_block=1).state_dict(), tmp_path / 'net.pth')
    upscaler = Upscaler(tmp_path / 'net.pth', device='cpu')
    image = photograph(3, 40, 0)
    padded = np.pad(image, ((0, 12), (0, 0), (0, 0)), mode='edge')
    assert np.array_equal(upscaler(image), upscaler(padded)[:12])
    assert upscaler(image[:1, :1]).shape == (4, 4, 3)


def test_full_halo_is_refused_where_there_is_none(tmp_path: Path) -> None:
    torch.save(NETWORKS['RFDN'](num_feat=8, num_block=1).state_dict(), tmp_path / 'net.pth')
    with pytest.raises(VapsrError, match='depends on the whole image'):
        Upscaler(tmp_path / 'net.pth', device='cpu', tile=16, halo='full')(photograph(20, 20, 0))
    assert Upscaler(tmp_path / 'net.pth', device='cpu', halo='full')(photograph(20, 20, 0)).shape == (80, 80, 3)


def test_a_network_for_grey_takes_the_channels_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(NETWORKS['VapSR'](num_in_ch=1, num_out_ch=1, scale=2, num_feat=8, num_block=1, d_atten=16).state_dict(),
               tmp_path / 'net.pth')
    upscaler = Upscaler(tmp_path / 'net.pth', device='cpu', tile=16)
    image = photograph(20, 24, 0)
    colours = upscaler(image)
    assert colours.shape == (40, 48, 3)
    for channel in range(3):
        assert np.array_equal(colours[..., channel], upscaler(image[..., channel]))
    assert upscaler(np.dstack([image, image[..., :1]])).shape == (40, 48, 4)


def test_a_network_for_other_channels_is_refused(tmp_path: Path) -> None:
    torch.save(NETWORKS['VapSR'](num_in_ch=2, num_out_ch=2, num_feat=8, num_block=1, d_atten=16).state_dict(),
               tmp_path / 'net.pth')
    with pytest.raises(VapsrError, match='takes 2 channels'):
        Upscaler(tmp_path / 'net.pth', device='cpu')
    grey_of_rgb = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.PixelShuffle(2))
    with pytest.raises(VapsrError, match='makes 1 channels of 3'):
        Upscaler(grey_of_rgb, device='cpu')(photograph(8, 8, 0))


class _Plainest(nn.Module):
    """A network of somebody else, which says nothing of itself; `scale` is something else in it."""

    def __init__(self, channels: int, factor: int, smallest: int = 1, window: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * factor**2, smallest, padding=smallest // 2, padding_mode='reflect')
        self.scale = nn.PixelShuffle(factor)
        self.window_size = window

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % self.window_size or x.shape[3] % self.window_size:
            raise RuntimeError('shape is invalid for windows')
        return self.scale(self.conv(x))


@pytest.mark.parametrize(('network', 'facts'), [
    (_Plainest(3, 2), (2, 3, 1)), (_Plainest(1, 3), (3, 1, 1)), (_Plainest(3, 2, smallest=7), (2, 3, 4)),
    (adapted(_Plainest(3, 2, window=8)), (2, 3, 1)), (adapted(_Plainest(3, 1), img_range=255), (1, 3, 1))])
def test_any_network_of_torch_is_taken(network: nn.Module, facts: tuple[int, int, int]) -> None:
    inner = bare(network)
    upscaler = Upscaler(network, device='cpu', tile=16)
    assert (upscaler.scale, upscaler.engine.num_in_ch, upscaler.engine.min_size) == facts
    image = photograph(24, 40, 0)
    with torch.no_grad():
        x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        expected = inner(x) if facts[1] == 3 else inner(x.transpose(0, 1)).transpose(0, 1)
        expected = expected if facts[0] > 1 else inner(x * 255) / 255
    expected = expected[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    assert np.abs(upscaler(image) - expected).max() <= 1
    assert upscaler(image[:5, :1]).shape == (5 * facts[0], facts[0], 3)


@pytest.mark.parametrize(('network', 'scale', 'words'), [
    (_Plainest(3, 2), 4, '_Plainest upscales by x2, not by x4'),
    (nn.Conv2d(3, 3, 3), None, r'Conv2d upscales neither RGB \(of 65x64 pixels it makes 63x62, which is no .* nor grey \(Given'),
    (nn.Conv2d(5, 5, 3), None, r'Conv2d upscales neither RGB \(.*to have 5 channels, but got 3'),
    (nn.Sequential(_Plainest(3, 1), nn.Flatten()), None, 'Sequential upscales neither RGB')])
def test_networks_that_do_not_upscale_are_refused(network: nn.Module, scale: int | None, words: str) -> None:
    with pytest.raises(VapsrError, match=words):
        Upscaler(network, scale=scale, device='cpu')


@pytest.mark.parametrize('error', [
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    torch.OutOfMemoryError('CUDA out of memory.'), MemoryError()], ids=repr)
def test_out_of_memory_halves_the_tile(error: Exception, upscale: Callable[..., np.ndarray], tiny_weights: Path) -> None:
    image, messages = photograph(130, 140, 0), []
    upscaler = Upscaler(tiny_weights, device='cpu', tile=100, log=messages.append)
    engine = upscaler.engine

    class Cramped(_Plain):
        halo = engine.halo

        def __call__(self, x: Tensor) -> Tensor:
            if x.shape[-1] > 60:
                raise error
            return engine(x)
    upscaler.engine = Cramped()
    expected = upscale(image)
    assert np.abs(upscaler(image).astype(int) - expected).max() <= 1
    assert [message.split(':')[0] for message in messages] == ['memory ran out'] * 2 and '25 pixels' in messages[-1]
    upscaler(image)
    assert len(messages) == 2  # it keeps to the smaller tile


def test_without_memory_for_anything_it_says_so(plain: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: Tensor) -> Tensor:
        raise MemoryError
    monkeypatch.setattr(_Plain, '__call__', lambda self, x: fail(x))
    with pytest.raises(VapsrError, match='not enough memory to upscale even'):
        plain(photograph(100, 100, 0))


def test_other_errors_are_not_taken_for_want_of_memory(plain: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: _Plain, x: Tensor) -> Tensor:
        raise RuntimeError('something else')
    monkeypatch.setattr(_Plain, '__call__', fail)
    with pytest.raises(RuntimeError, match='something else'):
        plain(photograph(10, 10, 0))


def test_a_result_that_is_not_finite_is_refused(plain: Upscaler) -> None:
    plain.engine.offset = float('nan')
    with pytest.raises(VapsrError, match='not finite'):
        plain(photograph(10, 10, 0))


def test_windows_are_of_one_size(tiny_weights: Path, record: Callable[[Upscaler], list[tuple[int, int]]]) -> None:
    upscaler = Upscaler(tiny_weights, device='cpu', tile=40)
    sizes = record(upscaler)
    upscaler(photograph(150, 101, 0))
    assert len(sizes) > 1 and len(set(sizes)) == 1


def test_progress_goes_from_tile_to_tile_up_to_1(plain: Upscaler) -> None:
    plain._tile = 16
    for channels in (3, 4):
        shares: list[float] = []
        plain(np.zeros((40, 40, channels), np.uint8), shares.append)
        assert shares == sorted(shares) and len(shares) > 4 and shares[-1] == pytest.approx(1)


def test_self_ensemble_does_not_depend_on_the_orientation_of_an_image(upscale: Callable[..., np.ndarray]) -> None:
    image = photograph(20, 31, 0)
    turned = upscale(np.ascontiguousarray(np.rot90(image)), self_ensemble=True)
    assert np.abs(np.rot90(turned, -1).astype(int) - upscale(image, self_ensemble=True)).max() <= 1
    assert not np.array_equal(upscale(image, self_ensemble=True), upscale(image))


def test_images_of_which_many_take_the_memory_of_a_window_are_upscaled_side_by_side(tiny_weights: Path) -> None:
    """Third-party layers are spared: what they keep in themselves, another thread would change."""
    upscaler = Upscaler(tiny_weights, device='cpu')
    side = tile_sizes.UNMEASURED['cpu']
    assert [upscaler.at_a_time(*size) for size in ((side // 2, side // 4), (side, side), (4 * side, side))] == [8, 1, 1]
    assert Upscaler(tiny_weights, device='cpu', tile=100).at_a_time(100, 101) == 1
    assert Upscaler(VapSR(num_feat=16, num_block=1, d_atten=16), device='cpu').at_a_time(side, side // 2) == 2
    network = VapSR(num_feat=16, num_block=1, d_atten=16)
    network.body.append(type('Foreign', (nn.Identity,), {})())
    assert Upscaler(network, device='cpu').at_a_time(10, 10) == 1


def test_threads_get_what_one_gets(tiny_weights: Path) -> None:
    upscaler = Upscaler(tiny_weights, device='cpu', tile=24)
    images = [photograph(40 + index, 50, index) for index in range(12)]
    expected = [upscaler(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        for result, alone in zip(pool.map(upscaler, images), expected):
            assert np.array_equal(result, alone)


def test_the_default_halo_is_no_larger_than_the_networks(tiny_weights: Path,
                                                         record: Callable[[Upscaler], list[tuple[int, int]]]) -> None:
    upscaler = Upscaler(tiny_weights, device='cpu', tile=16)
    sizes = record(upscaler)
    assert upscaler.engine.halo < AUTO_HALO
    upscaler(photograph(200, 200, 0))
    assert max(map(max, sizes)) <= 16 + 2 * upscaler.engine.halo


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_engines_upscale_tiles_alike(engine: str, upscale: Callable[..., np.ndarray], tiny_weights: Path, tmp_path: Path) -> None:
    for module in ('onnx', 'onnxruntime', engine):
        pytest.importorskip(module)
    image = photograph(45, 70, 0)
    expected = upscale(image).astype(int)
    exported = tmp_path / 'tiny.onnx'
    export_onnx(network := build_network(tiny_weights), exported, metadata(network))
    for weights in (tiny_weights, exported):
        upscaled = Upscaler(weights, engine=engine, tile=16, halo='full')(image)
        assert np.abs(upscaled - expected).max() <= 1 and (upscaled != expected).mean() < 1e-3
