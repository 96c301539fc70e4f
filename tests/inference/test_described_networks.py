"""`vapsr upscale`, `export` and `weights convert` for networks that an option file or a plugin describes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors
import torch
import yaml

from tests.conftest import Finished
from tests.forked import run_forked
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.pipeline.loading import load_network

PLAIN = '''
import torch
from torch import nn


class {name}(nn.Module):
    """One convolution, of whole windows; the result is never above 100, which matters in [0, 255] alone."""

    def __init__(self, factor=2, window_size={window}):
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * factor ** 2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)
        self.window_size = window_size

    def forward(self, x):
        assert x.shape[2] % self.window_size == 0 and x.shape[3] % self.window_size == 0, 'whole windows'
        return self.shuffle(self.conv(x).abs().clamp(max=100))
'''
REGISTERED = '''
from basicsr.utils.registry import ARCH_REGISTRY
''' + PLAIN.replace('class {name}', '@ARCH_REGISTRY.register()\nclass {name}') + '''
    @classmethod
    def infer(cls, state_dict):
        if set(state_dict) != {{'conv.weight', 'conv.bias'}}:
            return None
        return {{'factor': int((len(state_dict['conv.bias']) // 3) ** 0.5)}}
'''


def make(path: str, name: str, text: str, window: int = 1) -> torch.nn.Module:
    """Writes a network's file and `PATH.pth`, its weights under `ema`, and others under `params`; returns it with the former."""
    Path(path).write_text(text.format(name=name, window=window))
    namespace: dict = {}
    exec(PLAIN.format(name=name, window=window), namespace)
    torch.manual_seed(0)
    network, other = (namespace[name]().eval() for _ in range(2))
    torch.save({'params': other.state_dict(), 'ema': network.state_dict()}, f'{Path(path).stem}.pth')
    return network


@pytest.fixture
def describe(test_options: Callable[..., str]) -> Callable[..., str]:
    """Writes a test option file with a `network_g`."""
    def write(checkpoint: str | None, network_g: dict, **more: object) -> str:
        path = Path(test_options())
        options = yaml.safe_load(path.read_text())
        options |= {'network_g': network_g, 'path': {'pretrain_network_g': checkpoint, 'param_key_g': 'ema'}, **more}
        path.write_text(yaml.safe_dump(options))
        return str(path)
    return write


def expected(network: torch.nn.Module, image: np.ndarray, img_range: int = 1, multiple: int = 1) -> np.ndarray:
    """What a network makes of an RGB image that is padded by reflection."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode='reflect')
    with torch.no_grad():
        y = network(torch.from_numpy(padded).permute(2, 0, 1)[None] / 255 * img_range) / img_range
    return y[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy().astype(np.uint8)[:2 * height, :2 * width]


def read(path: str | Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_a_network_of_a_file_in_all_commands(describe: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    network = make('windows.py', 'Windows', PLAIN, window=8)
    opt = describe('windows.pth', {'type': 'windows.py:Windows', 'img_range': 255})
    source = 'datasets/photos/LR/1.png'
    wanted = expected(network, read(source), 255, 8)

    result = vapsr('upscale', source, '-o', 'out', '--opt', opt, '--device', 'cpu')
    assert result.code == 0 and 'plugin: importing windows.py' in result.err and 'weights: ' not in result.err, result.err
    assert np.abs(read('out/1.png').astype(int) - wanted).max() <= 1
    assert np.array_equal(Upscaler(load_network(opt=opt), device='cpu')(read(source)), read('out/1.png'))

    result = vapsr('export', '--opt', opt, '-o', 'net.onnx')
    assert result.code == 0, result.err
    assert load_engine('net.onnx', engine='onnxruntime').min_size == 5
    for name in ('0', '1', '2', '3'):
        source = read(f'datasets/photos/LR/{name}.png')
        by_onnx = Upscaler('net.onnx', engine='onnxruntime', device='cpu')(source)
        assert np.abs(by_onnx.astype(int) - expected(network, source, 255, 8)).max() <= 1

    result = vapsr('weights', 'convert', 'windows.pth', 'safe.safetensors', '--opt', opt, '--param-key', 'ema')
    assert result.code == 0 and result.out.startswith('safe.safetensors: windows.py:Windows(img_range=255)'), result.err
    with safetensors.safe_open('safe.safetensors', framework='pt') as file:
        assert torch.equal(file.get_tensor('conv.weight'), network.conv.weight)
        assert json.loads(file.metadata()['arguments']) == {'img_range': 255}


def test_weights_and_param_key_beside_an_option_file_count(describe: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    make('one.py', 'One', PLAIN)
    opt = describe(None, {'type': 'one.py:One'})
    source = 'datasets/photos/LR/1.png'
    result = vapsr('upscale', source, '-o', 'out', '--opt', opt)
    assert result.code == 2 and 'test.yml: path.pretrain_network_g: is required, unless the weights are given' in result.err
    assert vapsr('export', '--opt', opt, '-o', 'a.onnx').code == 2
    results = []
    for key in ((), ('--param-key', 'params')):
        result = vapsr('upscale', source, '-o', 'out', '--opt', opt, '--weights', 'one.pth', '--device', 'cpu', '--force', *key)
        assert result.code == 0, result.err
        results.append(read('out/1.png'))
    assert not np.array_equal(*results)
    result = vapsr('upscale', source, '-o', 'out', '--opt', opt, '--weights', 'net.pth', '--force', '--param-key', 'params')
    assert result.code == 1 and result.err.endswith(
        'net.pth does not fit One: conv.weight (12x3x3x3) is not in the file, nor 1 more; the file is a VapSR(num_in_ch=3, '
        'num_out_ch=3, scale=2, num_feat=8, num_block=1, d_atten=16, conv_groups=1)\n')
    result = vapsr('upscale', source, '-o', 'out', '--opt', opt, '--weights', 'one.pth', '--scale', '3', '--force')
    assert result.code == 1 and result.err.endswith('test.yml is for x2, not x3\n')
    assert vapsr('upscale', source, '-o', 'out2', '--opt', describe('one.pth', {'type': 'one.py:One'}, scale=4)).err.endswith(
        'One upscales by x2, not by x4\n')


def forked(*arguments: str) -> Finished:
    """Runs the command line in a process of its own: a network is registered for the life of one."""
    process = run_forked('from vapsr_arch.cli import main; main()', arguments)
    return Finished(process.returncode, process.stdout.decode(), process.stderr.decode())


def test_a_plugin_whose_network_recognises_its_weights(workspace: Path, vapsr: Callable[..., Finished]) -> None:
    network = make('mine_arch.py', 'Mine', REGISTERED)
    source = 'datasets/photos/LR/1.png'
    arguments = ('--plugin', 'mine_arch.py', '--param-key', 'ema')
    result = forked('upscale', source, '-o', 'out', '--weights', 'mine_arch.pth', *arguments)
    assert result.code == 0 and 'plugin: importing mine_arch.py' in result.err, result.err
    assert np.abs(read('out/1.png').astype(int) - expected(network, read(source))).max() <= 1
    result = forked('weights', 'convert', 'mine_arch.pth', 'mine.pth', *arguments)
    assert result.out == 'mine.pth: Mine(factor=2), 336 parameters, from mine_arch.pth, key ema\n', result.err

    result = vapsr('upscale', source, '-o', 'out2', '--weights', 'mine_arch.pth', '--param-key', 'ema')
    assert result.code == 1 and result.err.endswith('a test option file says what else they are: --opt FILE\n')
    result = vapsr('upscale', source, '-o', 'out2', '--plugin', 'mine_arch.py')
    assert (result.code, result.err) == (
        2, 'Error: --plugin registers networks: say by --weights or --opt which is to be used\n')
    assert vapsr('upscale', source, '-o', 'out2', '--weights', 'mine_arch.pth', '--plugin', 'none.py').code == 2


def test_param_key_without_an_option_file(test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    test_options()
    content = torch.load('net.pth', weights_only=True)['params']
    torch.save({'params_ema': {name: tensor * 0 for name, tensor in content.items()}, 'mine': content}, 'both.pth')
    source = 'datasets/photos/LR/1.png'
    for weights, key in (('net.pth', 'params'), ('both.pth', 'mine')):
        assert vapsr('upscale', source, '-o', key, '--weights', weights, '--param-key', key, '--device', 'cpu').code == 0
    assert np.array_equal(read('params/1.png'), read('mine/1.png'))
    assert vapsr('weights', 'convert', 'both.pth', 'c.pth', '--param-key', 'mine').out.endswith('from both.pth, key mine\n')
    result = vapsr('export', 'both.pth', '--torch-export', 'a.pt2', '--param-key', 'other')
    assert result.err == "Error: both.pth has no weights under 'other'; it has 'params_ema', 'mine'\n"


def test_upscaling_does_not_import_basicsr_nor_the_compiler(workspace: Path) -> None:
    """Both take seconds."""
    code = ('import sys\nfrom vapsr_arch.cli import main\n'
            'try:\n    main(["upscale", "datasets/photos/LR/1.png", "-o", "out", "--device", "cpu"])\n'
            'except SystemExit as end:\n    assert not end.code\n'
            'print([name for name in ("basicsr", "torch._dynamo", "spandrel", "sympy") if name in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == '[]\n', done.stderr
