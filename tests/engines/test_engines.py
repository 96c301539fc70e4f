"""Every engine gives what torch gives, for any size and from several threads; what cannot be is refused in a sentence."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.inference.export_helpers import SMALL, save
from vapsr_arch.engines import loading as engines
from vapsr_arch.engines.loading import Engine, load_engine
from vapsr_arch.errors import VapsrError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(min_size: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(batch, 3, min_size + height, min_size + width, generator=generator)
            for batch, height, width in ((1, 0, 0), (1, 6, 17), (2, 21, 8), (1, 40, 40))]


def need(engine: str) -> None:
    if engine in ('openvino', 'onnxruntime'):
        pytest.importorskip('onnx')
        pytest.importorskip(engine)


@pytest.mark.parametrize('engine', ['torch', 'openvino', 'onnxruntime'])
@pytest.mark.parametrize('name', SMALL)
def test_an_engine_gives_what_the_network_gives(folder: Path, name: str, engine: str) -> None:
    need(engine)
    path, network = save(folder, name)
    run = load_engine(path, scale=network.scale, engine=engine, device='cpu')
    assert isinstance(run, Engine)
    assert (run.scale, run.num_in_ch, run.min_size, run.halo) == (network.scale, 3, network.min_size, network.halo)
    for x in images(network.min_size):
        before = x.clone()
        with torch.no_grad():
            expected = network(x)
        got = run(x)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
        assert torch.equal(x, before)


def test_compiled_is_the_same(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path, network = save(folder, 'VapSR')
    try:
        run = load_engine(path, engine='compile', device='cpu')
    except VapsrError as error:
        pytest.skip(str(error))
    for x in images(network.min_size)[1::2]:
        with torch.no_grad():
            torch.testing.assert_close(run(x), network(x), atol=2e-5, rtol=1e-4)
    assert capsys.readouterr().err.count('Compiling') == 1


def test_bf16_is_near(folder: Path) -> None:
    path, network = save(folder, 'VapSR')
    run = load_engine(path, precision='bf16', device='cpu')
    x = images(1)[1]
    with torch.no_grad():
        got, expected = run(x), network(x)
    assert got.dtype == torch.float32
    assert 0 < (got - expected).abs().max() < 0.05


@pytest.mark.parametrize('engine', ['torch', 'openvino', 'onnxruntime'])
def test_threads_share_an_engine(folder: Path, engine: str) -> None:
    need(engine)
    path, _ = save(folder, 'VapSR')
    run = load_engine(path, engine=engine, device='cpu')
    inputs = [torch.rand(1, 3, 20 + index % 3, 30) for index in range(24)]
    alone = [run(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, inputs))
    for one, other in zip(alone, together):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('engine', ['torch', 'openvino', 'onnxruntime'])
def test_wrong_images_are_refused(folder: Path, engine: str) -> None:
    need(engine)
    path, _ = save(folder, 'RFDN')
    run = load_engine(path, engine=engine, device='cpu')
    for shape in ((1, 1, 20, 20), (3, 20, 20), (1, 3, 20, 14)):
        with pytest.raises(ValueError, match='the input must be'):
            run(torch.rand(shape))


@pytest.mark.parametrize(('arguments', 'words'), [
    (dict(engine='tensorrt'), "there is no engine 'tensorrt': choose one of torch, compile, openvino, onnxruntime"),
    (dict(precision='int8'), "there is no precision 'int8'"),
    (dict(device='tpu'), "there is no device 'tpu'"),
    (dict(device='cuda', engine='openvino'), 'the engine openvino computes on the CPU here'),
    (dict(scale=3), 'VapSR.pth holds a VapSR for x4, not x3'),
    (dict(engine='onnxruntime', precision='bf16'), 'ONNX Runtime does not compute in bf16 on this CPU: choose one of fp32'),
])
def test_impossible_requests_are_refused(folder: Path, arguments: dict[str, str], words: str) -> None:
    need(arguments.get('engine', 'torch'))
    save(folder, 'VapSR')
    with pytest.raises(VapsrError, match=re.escape(words)):
        load_engine('VapSR.pth', **arguments)


def test_what_the_machine_lacks_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 'VapSR')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(VapsrError, match='there is no CUDA GPU that torch can use here: choose the device cpu'):
        load_engine('VapSR.pth', device='cuda')
    if not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        with pytest.raises(VapsrError, match='torch has no fast fp16 on this CPU'):
            load_engine('VapSR.pth', precision='fp16')
    with torch._inductor.config.patch('cpp.cxx', ('no-such-compiler',)), \
            pytest.raises(VapsrError, match=r'the engine compile needs a C\+\+ compiler'):
        load_engine('VapSR.pth', engine='compile')
    monkeypatch.setattr(engines.importlib.util, 'find_spec', lambda name: None)
    for name in ('openvino', 'onnxruntime'):
        with pytest.raises(VapsrError, match=f'the engine {name} is not installed: `pip install {name}`'):
            load_engine('VapSR.pth', engine=name)


def test_exported_networks_are_not_for_torch(folder: Path) -> None:
    Path('a.onnx').touch()
    with pytest.raises(VapsrError, match=r'a.onnx is an exported network, which the engine torch does not read'):
        load_engine('a.onnx')


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_a_damaged_file_is_refused(folder: Path, engine: str) -> None:
    need(engine)
    Path('a.onnx').write_bytes(b'no model')
    with pytest.raises(VapsrError, match=r'a.onnx is not a model that .* can run'):
        load_engine('a.onnx', engine=engine)


def foreign(path: str, height: int | str, factor: float = 3, channels: int = 1) -> None:
    """Writes a model without metadata that upscales by nearest neighbours."""
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper
    scales = helper.make_tensor('scales', TensorProto.FLOAT, [4], [1, 1, factor, factor])
    graph = helper.make_graph(
        [helper.make_node('Resize', ['in', '', 'scales'], ['out'], mode='nearest')], 'g',
        [helper.make_tensor_value_info('in', TensorProto.FLOAT, ['n', channels, height, 'w'])],
        [helper.make_tensor_value_info('out', TensorProto.FLOAT, ['n', channels, 'h2', 'w2'])], [scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_the_scale_of_a_foreign_model_is_found(folder: Path, engine: str) -> None:
    need(engine)
    foreign('a.onnx', 'h')
    run = load_engine('a.onnx', engine=engine)
    assert (run.scale, run.num_in_ch, run.min_size, run.halo) == (3, 1, 1, None)
    assert run(torch.rand(1, 1, 5, 7)).shape == (1, 1, 15, 21)
    with pytest.raises(VapsrError, match=r'a.onnx holds a network for x3, not x2'):
        load_engine('a.onnx', engine=engine, scale=2)
    foreign('b.onnx', 32)
    with pytest.raises(VapsrError, match=r'b.onnx takes images of one size only'):
        load_engine('b.onnx', engine=engine)
    foreign('c.onnx', 'h', factor=1.5)
    with pytest.raises(VapsrError, match=r'c.onnx makes 96x96 pixels of 64x64'):
        load_engine('c.onnx', engine=engine)


def test_engines_do_not_import_basicsr(folder: Path) -> None:
    save(folder, 'VapSR')
    code = "import sys; from vapsr_arch.engines.loading import load_engine; load_engine('VapSR.pth'); " \
           "assert not {'basicsr', 'cv2', 'torchvision'} & set(sys.modules)"
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_a_gpu_gives_what_the_cpu_gives(folder: Path, precision: str) -> None:
    path, network = save(folder, 'VapSR')
    run = load_engine(path, device='cuda', precision=precision)
    for x in images(1):
        with torch.no_grad():
            torch.testing.assert_close(run(x).cpu(), network(x), atol=1e-3 if precision == 'fp32' else 0.05, rtol=1e-2)


USE_FREE_AND_HANDLE_A_SIGNAL = """
import signal, sys, threading
from vapsr_arch.engines.loading import load_engine

engines = [load_engine(sys.argv[1], engine='openvino')]
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda number, frame: print('handled'))
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_handled_after_another_thread_has_freed_openvino(folder: Path) -> None:
    need('openvino')
    path, _ = save(folder, 'VapSR')
    child = subprocess.run([sys.executable, '-c', USE_FREE_AND_HANDLE_A_SIGNAL, path], capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (0, 'handled\n'), child.stderr
