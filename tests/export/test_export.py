"""Exported files: what is in them, that they are checked before they get their names, and what is refused."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import Finished
from tests.inference.export_helpers import SMALL, save, small_network
from vapsr_arch import __version__
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.engines.graph_forms import for_onnxruntime, for_openvino
from vapsr_arch.engines.graphs import OPSETS, metadata
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.engines.onnx_engines import openvino_core
from vapsr_arch.errors import VapsrError
from vapsr_arch.export import files as export


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('form', [for_onnxruntime, for_openvino])
def test_a_rewritten_network_gives_the_same(form: Callable) -> None:
    network = small_network('VapSR')
    rewritten = form(network)
    x = torch.rand(2, 3, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(rewritten(x), network(x))
    assert rewritten is not network and 'body.0.proj_1.weight' in network.state_dict()
    assert form(small_network('RFDN')).state_dict().keys() == small_network('RFDN').state_dict().keys()


@pytest.mark.parametrize('fp16', [False, True])
def test_the_features_have_the_images_size(fp16: bool) -> None:
    onnx = pytest.importorskip('onnx')
    network = small_network('VapSR-S')
    model = onnx.load_model_from_string(export.onnx_model(for_onnxruntime(network), {}, fp16))
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True))
    named = {info.name: [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
             for info in model.graph.value_info}
    convolutions = [node.output[0] for node in model.graph.node if node.op_type == 'Conv']
    assert [named.get(name) for name in convolutions].count(None) == (network.scale == 4)  # that of the upsampled features
    x = torch.rand(2, 3, 9, 13)
    features = network.conv_first(x)
    assert named[convolutions[0]] == ['batch', features.shape[1], 'height', 'width'] and features.shape[2:] == x.shape[2:]


def test_onnxruntime_changes_layouts_at_the_norm_alone(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimized.onnx')
    network = VapSR(num_feat=32, num_block=4)
    onnxruntime.InferenceSession(export.onnx_model(for_onnxruntime(network), {}), options, providers=['CPUExecutionProvider'])
    operators = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    if not operators['ReorderOutput']:
        pytest.skip('ONNX Runtime has no layout of its own on this processor')
    if onnxruntime.__version__.startswith('1.23'):
        pytest.skip('ONNX Runtime 1.23, the last one for Python 3.10, changes layouts more often')
    assert operators['Transpose'] <= 2  # where the blocks begin and end
    assert operators['ReorderOutput'] <= 4 + 4  # the tail's beside the blocks'


def test_openvino_normalises_in_one_operator_after_the_mean() -> None:
    pytest.importorskip('openvino')
    pytest.importorskip('onnx')
    network = VapSR(num_feat=16, num_block=3)
    core = openvino_core()
    compiled = core.compile_model(core.read_model(export.onnx_model(for_openvino(network), {})), 'CPU')
    kinds = Counter(node.get_rt_info()['layerType'].astype(str) for node in compiled.get_runtime_model().get_ops())
    assert kinds['NormalizeL2'] == kinds['Reduce'] == 3, kinds


def test_the_command_writes_files_that_engines_read(folder: Path, vapsr: Callable[..., Finished]) -> None:
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    path, network = save(folder, 'VapSR-S')
    result = vapsr('export', 'VapSR-S.pth', '-o', 'out/a.onnx', '--openvino', 'out', '--torch-export', 'out/a.pt2')
    assert result.code == 0, result.err
    assert [line.partition(': within ')[0] for line in result.out.splitlines()] == [
        'out/a.onnx', 'out/VapSR-S.xml', 'out/a.pt2']
    assert sorted(file.name for file in Path('out').iterdir()) == ['VapSR-S.bin', 'VapSR-S.xml', 'a.onnx', 'a.pt2']

    x = torch.rand(1, 3, 31, 20)
    with torch.no_grad():
        expected = network(x)
    for file, engine in (('out/a.onnx', 'onnxruntime'), ('out/a.onnx', 'openvino'), ('out/VapSR-S.xml', 'openvino')):
        run = load_engine(file, engine=engine)
        assert (run.scale, run.min_size, run.halo) == (2, 1, network.halo)
        torch.testing.assert_close(run(x), expected, atol=2e-5, rtol=1e-4)
    extra = {'metadata.json': ''}
    torch.testing.assert_close(torch.export.load('out/a.pt2', extra_files=extra).module()(x), expected)

    model = onnx.load('out/a.onnx')
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts.pop('arguments')) == dict(SMALL['VapSR-S'], num_in_ch=3, num_out_ch=3)
    assert facts == {
        'network': 'VapSR', 'scale': '2', 'num_in_ch': '3', 'min_size': '1', 'halo': '20', 'precision': 'fp32',
        'vapsr_arch': __version__, 'source_sha256': hashlib.sha256(path.read_bytes()).hexdigest()}
    assert json.loads(extra['metadata.json'])['halo'] == '20'
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators['Gelu'] == operators['LayerNormalization'] == 2, operators  # one operator each

    assert vapsr('export', 'VapSR-S.pth', '-o', 'out/a.onnx', '--openvino', 'out').err == (
        'Error: out/a.onnx and out/VapSR-S.xml and out/VapSR-S.bin exists: choose another name, or add --force to replace '
        'it\n')
    assert vapsr('export', 'VapSR-S.pth', '-o', 'out/a.onnx', '--force').code == 0


@pytest.mark.parametrize('opset', OPSETS)
def test_every_opset_is_run(folder: Path, opset: int) -> None:
    """`export_onnx` has ONNX Runtime run each; OpenVINO runs VapSR's."""
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    for name in SMALL if opset in (min(OPSETS), max(OPSETS)) else ('VapSR-S',):
        network = small_network(name)
        export.export_onnx(network, Path('a.onnx'), metadata(network), opset=opset)
        model = onnx.load('a.onnx')
        onnx.checker.check_model(model, full_check=True)
        assert [entry.version for entry in model.opset_import if not entry.domain] == [opset]
        operators = Counter(node.op_type for node in model.graph.node)
        assert (operators['Gelu'] > 0) <= (opset >= 20) and (operators['LayerNormalization'] > 0) <= (opset >= 17)
        if name == 'VapSR-S':
            export.check(Path('a.onnx'), load_engine('a.onnx', engine='openvino'), network)


def test_the_command_takes_an_opset(folder: Path, vapsr: Callable[..., Finished]) -> None:
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    save(folder, 'VapSR-S')
    assert vapsr('export', 'VapSR-S.pth', '-o', 'a.onnx', '--opset', '15', '--fp16').code == 0
    assert onnx.load('a.onnx').opset_import[0].version == 15
    assert vapsr('export', 'VapSR-S.pth', '-o', 'b.onnx', '--opset', '12').code == 2


@pytest.mark.parametrize('name', ['VapSR', 'IMDN', 'RFDN', 'BSRN', 'BSRN_S', 'PAN'])
def test_fp16_inside_is_near_and_takes_float32(folder: Path, name: str) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    network = small_network(name)
    difference = export.export_onnx(network, Path('half.onnx'), metadata(network, precision='fp16'), fp16=True)
    assert 0 < difference < 0.01
    assert next(network.parameters()).dtype == torch.float32
    run = load_engine('half.onnx', engine='onnxruntime')
    assert run(torch.rand(1, 3, 24, 24)).dtype == torch.float32


@pytest.mark.parametrize('name', ['VapSR', 'RFDN', 'BSRN_S'])
def test_a_file_of_torch_export_says_the_smallest_image(folder: Path, name: str) -> None:
    network = small_network(name)
    export.export_torch(network, Path('a.pt2'), metadata(network))
    extra = {'metadata.json': ''}
    module = torch.export.load('a.pt2', extra_files=extra).module()
    side = int(json.loads(extra['metadata.json'])['min_size'])
    x = torch.rand(1, 3, side, side + 1)
    with torch.no_grad():
        torch.testing.assert_close(module(x), network(x))


def test_the_scale_that_weights_do_not_determine_is_in_the_metadata() -> None:
    facts = metadata(small_network('PAN'))
    assert facts['scale'] == '3' and json.loads(facts['arguments'])['scale'] == 3
    assert metadata(small_network('IMDN'))['halo'] == 'whole image'


def test_a_wrong_export_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    network, other = small_network('VapSR'), small_network('VapSR')
    other.body[1].atten_branch.depthwise.bias.data += 0.5
    right = export.onnx_model
    monkeypatch.setattr(export, 'onnx_model', lambda network, *rest: right(other, *rest))
    facts = metadata(network)
    for write in (export.export_onnx, export.export_openvino):
        with pytest.raises(VapsrError, match=r'^(wrong.onnx|wrong.xml) was not written: for an image of .* differs'):
            write(network, Path('wrong.onnx' if write is export.export_onnx else 'wrong.xml'), facts)
    assert not list(folder.iterdir())


@pytest.mark.parametrize('wrong', [lambda y: y[..., 1:], lambda y: y * float('nan')], ids=['shape', 'nan'])
def test_the_check_refuses(wrong: Callable[[Tensor], Tensor]) -> None:
    network = small_network('VapSR')
    with pytest.raises(VapsrError, match=r'a.onnx was not written'):
        export.check(Path('a.onnx'), lambda x: wrong(network(x)), network)


@pytest.mark.parametrize(('arguments', 'code', 'words'), [
    ((), 2, 'nothing to write: give -o FILE.onnx, --openvino DIR, --ncnn DIR'),
    (('-o', 'a.pth'), 2, 'a.pth: the name must end in .onnx'),
    (('--torch-export', 'a.onnx'), 2, 'a.onnx: the name must end in .pt2'),
    (('--torch-export', 'a.pt2', '--scale', '3'), 1, 'VapSR.pth holds a VapSR for x4, not x3'),
])
def test_the_command_refuses(folder: Path, vapsr: Callable[..., Finished], arguments: tuple[str, ...], code: int,
                             words: str) -> None:
    save(folder, 'VapSR')
    result = vapsr('export', 'VapSR.pth', *arguments)
    assert result.code == code and words in result.err and 'Traceback' not in result.err
    assert [path.name for path in folder.iterdir()] == ['VapSR.pth']


def test_the_shipped_network_is_exported_in_every_form(folder: Path, vapsr: Callable[..., Finished]) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    result = vapsr('export', 'VapSR-S_x4', '-o', 'a.onnx', '--fp16', '--openvino', 'ir')
    assert result.code == 0, result.err
    assert Path('a.onnx').is_file() and Path('ir/VapSR-S_x4.xml').is_file() and Path('ir/VapSR-S_x4.bin').is_file()
