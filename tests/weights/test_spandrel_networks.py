"""Networks that spandrel recognises: random weights of its own classes, upscaled with, tested and exported."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from tests.conftest import Finished, photograph
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.torchvision_operators import define_torchvision_operators
from vapsr_arch.weights.networks import build_network
from vapsr_arch.weights.spandrel_networks import SpandrelNetwork

define_torchvision_operators()
pytest.importorskip('spandrel')
from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.ESRGAN import ESRGAN  # noqa: E402
from spandrel.architectures.RealCUGAN import UpCunet2x  # noqa: E402
from spandrel.architectures.SAFMN import SAFMN  # noqa: E402
from spandrel.architectures.SPAN import SPAN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

# Name: class, arguments, scale, channels, whether tiles are allowed.
SMALL: dict[str, tuple[type[nn.Module], dict[str, Any], int, int, bool]] = {
    'SPAN': (SPAN, dict(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2), 2, 3, True),
    'SwinIR': (SwinIR, dict(embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2,
                            upsampler='pixelshuffledirect'), 2, 3, False),
    'SAFMN': (SAFMN, dict(dim=8, n_blocks=1, upscaling_factor=4), 4, 3, True),
    'RealCUGAN': (UpCunet2x, dict(), 2, 3, True),
    'ESRGAN': (ESRGAN, dict(num_filters=8, num_blocks=1, scale=4), 4, 3, True),
    'Compact': (Compact, dict(num_feat=8, num_conv=2, upscale=3), 3, 3, True),
    'grey Compact': (Compact, dict(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2), 2, 1, True),
}
every = pytest.mark.parametrize('name', SMALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, **more: Tensor) -> nn.Module:
    """Writes `net.pth` with random weights of a network."""
    torch.manual_seed(0)
    network = SMALL[name][0](**SMALL[name][1]).eval()
    torch.save({'params': network.state_dict() | more}, 'net.pth')
    return network


@every
def test_a_checkpoint_determines_the_network(name: str) -> None:
    network = save(name)
    built = build_network('net.pth')
    _, _, scale, channels, tiles = SMALL[name]
    assert isinstance(built, SpandrelNetwork) and not built.training and built.architecture.endswith(name.split()[-1])
    assert (built.scale, built.num_in_ch, built.tiles) == (scale, channels, tiles)
    x = torch.rand(2, channels, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(built(x), network(x).clamp(0, 1), rtol=1e-4, atol=1e-5)
    for height, width in ((1, 1), (5, 30)):
        assert built(x[:, :, :height, :width]).shape == (2, channels, scale * height, scale * width)


@every
def test_images_of_all_kinds_are_upscaled(name: str, vapsr: Callable[..., Finished]) -> None:
    save(name)
    pixels = photograph(20, 26, 0)
    for kind, image in (('rgb', pixels), ('grey', pixels[..., 0]), ('alpha', np.dstack([pixels, pixels[..., :1]]))):
        Image.fromarray(image).save(f'{kind}.png')
    result = vapsr('upscale', 'rgb.png', 'grey.png', 'alpha.png', '-o', 'out', '--weights', 'net.pth', '--device', 'cpu')
    assert result.code == 0, result.err
    scale = SMALL[name][2]
    for kind, mode in (('rgb', 'RGB'), ('grey', 'L'), ('alpha', 'RGBA')):
        with Image.open(f'out/{kind}.png') as image:
            assert image.mode == mode and image.size == (26 * scale, 20 * scale)


def test_tiles_change_nothing_where_they_are_allowed() -> None:
    save('Compact')
    image = photograph(60, 50, 0)
    whole = Upscaler('net.pth', device='cpu')(image)
    assert np.array_equal(Upscaler('net.pth', device='cpu', tile=16, halo=16)(image), whole)


def test_a_network_that_is_to_see_the_whole_image_is_not_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    save('SwinIR')
    upscaler, sizes = Upscaler('net.pth', device='cpu'), []
    network = upscaler.engine

    class Noting:
        scale, min_size, halo, num_in_ch, tiles, side_by_side = 2, 1, None, 3, network.tiles, False

        def __call__(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[2:]))
            if x.shape[2] > 30:
                raise MemoryError
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    monkeypatch.setattr(upscaler, 'engine', Noting())
    upscaler(photograph(2, 900, 0))
    with pytest.raises(VapsrError, match=r'not enough memory for the whole image, which .* at once: .* --tile N'):
        upscaler(photograph(40, 40, 0))
    assert sizes == [(2, 900), (40, 40)]
    assert Upscaler('net.pth', device='cpu', tile=16)(photograph(40, 40, 0)).shape == (80, 80, 3)


def test_weights_that_spandrel_does_not_know(vapsr: Callable[..., Finished]) -> None:
    torch.save(nn.Conv2d(3, 3, 1).state_dict(), 'net.pth')
    Image.fromarray(photograph(8, 8, 0)).save('a.png')
    result = vapsr('upscale', 'a.png', '-o', 'out', '--weights', 'net.pth')
    assert result.code == 1 and result.err.endswith(
        'PixelAttentionRoadmap), nor to one that spandrel knows; a test option file says what else they are: --opt FILE\n')
    save('SPAN')
    result = vapsr('upscale', 'a.png', '-o', 'out', '--weights', 'net.pth', '--scale', '3')
    assert result.err == 'Error: net.pth holds a SPAN for x2, not x3\n'
    save('Compact', more=torch.ones(1))
    result = vapsr('upscale', 'a.png', '-o', 'out', '--weights', 'net.pth')
    assert result.err.startswith('Error: net.pth: spandrel cannot build the network of these weights: ')


def test_spandrel_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    save('SPAN')
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    with pytest.raises(VapsrError, match=r'these weights belong to no network .* some forty more: `pip install spandrel`'):
        build_network('net.pth')


def test_a_precision_that_the_network_lacks_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    save('SwinIR')
    with pytest.raises(VapsrError, match='SwinIR does not compute in fp16: choose one of fp32, bf16'):
        load_engine('net.pth', device='cpu', precision='fp16')
    assert load_engine('net.pth', device='cpu', precision='bf16').dtype == torch.float32  # though spandrel says it could
    assert 'torch in bf16 on the CPU does not work on this machine' in caplog.text
    save('Compact')
    assert load_engine('net.pth', device='cpu', precision='bf16')(torch.rand(1, 3, 20, 20)).shape == (1, 3, 60, 60)


@pytest.mark.parametrize('name', ['SPAN', 'Compact', 'grey Compact', 'ESRGAN'])
def test_networks_that_take_any_size_are_exported(name: str, vapsr: Callable[..., Finished]) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    save(name)
    result = vapsr('export', 'net.pth', '-o', 'net.onnx')
    assert result.code == 0, result.err
    image = photograph(21, 18, 0)
    by_torch, by_onnx = (Upscaler(weights, device='cpu', engine=engine)(image).astype(int)
                         for weights, engine in (('net.pth', 'torch'), ('net.onnx', 'onnxruntime')))
    assert np.abs(by_torch - by_onnx).max() <= 1


def test_an_export_that_would_be_wrong_is_refused_in_a_sentence(vapsr: Callable[..., Finished], folder: Path) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    save('SAFMN')
    result = vapsr('export', 'net.pth', '-o', 'net.onnx')
    assert result.code == 1 and result.err.startswith('Error: net.onnx was not written: ')
    assert 'SAFMN' in result.err and result.err.count('\n') == 1 and 'Traceback' not in result.err
    assert [path.name for path in folder.iterdir()] == ['net.pth']


@pytest.mark.parametrize('name', ['SPAN', 'SwinIR'])
def test_an_option_file_of_type_spandrel(name: str, test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    network = save(name)
    torch.save({'params': SMALL[name][0](**SMALL[name][1]).state_dict(), 'ema': network.state_dict()}, 'net.pth')
    path = Path(test_options(path={'pretrain_network_g': 'net.pth', 'param_key_g': 'ema'}, val={'save_img': True}))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {'network_g': {'type': 'Spandrel'}}))
    result = vapsr('test', '--opt', str(path))
    assert result.code == 0, result.err
    image = sorted(Path('datasets/photos/LR').iterdir())[0]
    tested = cv2.imread(str(next(Path('results/small/visualization/photos').glob(f'{image.stem}_*'))))
    expected = Upscaler(build_network('net.pth', param_key='ema'), device='cpu')(cv2.imread(str(image))[..., ::-1])
    assert np.abs(tested[..., ::-1].astype(int) - expected).max() <= 1
    assert vapsr('upscale', str(image), '-o', 'out', '--opt', str(path), '--device', 'cpu').code == 0
    assert np.array_equal(cv2.imread(f'out/{image.name}')[..., ::-1], expected)
