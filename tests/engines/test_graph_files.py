"""Exported networks as others make them, and as nobody should: refused in a sentence before a runtime reads them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inference.export_helpers import save
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.errors import VapsrError
from vapsr_arch.weights.described import described
from vapsr_arch.weights.networks import build_network

onnx = pytest.importorskip('onnx')
ENGINES = ('onnxruntime', 'openvino')


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An exported network of x4."""
    from vapsr_arch.engines.graphs import metadata, onnx_model
    monkeypatch.chdir(tmp_path)
    path, _ = save(tmp_path, 'VapSR')
    network = described(build_network(path))
    return onnx.load_model_from_string(onnx_model(network, metadata(network)))


def said(model: Any, **changes: str) -> Any:
    """The model with other metadata."""
    facts = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, facts)
    return model


def with_input(model: Any) -> Any:
    model.graph.input.append(onnx.helper.make_tensor_value_info('second', onnx.TensorProto.FLOAT, [1]))
    model.graph.node.append(onnx.helper.make_node('Add', [model.graph.output[0].name, 'second'], ['sum']))
    model.graph.output[0].name = 'sum'
    return model


def with_channel(model: Any) -> Any:
    """Four channels come out: the last one again."""
    name = model.graph.output[0].name
    model.graph.initializer.append(onnx.helper.make_tensor('order', onnx.TensorProto.INT64, [4], [0, 1, 2, 2]))
    model.graph.node.append(onnx.helper.make_node('Gather', [name, 'order'], ['four'], axis=1))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info('four', onnx.TensorProto.FLOAT, ['n', 4, 'h', 'w']))
    return model


def outside(model: Any, location: str, length: int | None = None) -> Any:
    """Its first weights outside the file."""
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=length or len(tensor.raw_data))
    tensor.ClearField('raw_data')
    return model


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    'a scale that is no number': (lambda model: said(model, scale='x'), "its metadata is damaged: scale is 'x'"),
    'a scale beyond sense': (lambda model: said(model, scale='9' * 30), 'its metadata is damaged: scale is'),
    'another scale': (lambda model: said(model, scale='2'), 'its metadata is damaged: it says x2, but it upscales by x4'),
    'no smallest size': (lambda model: said(model, min_size='-1'), "its metadata is damaged: min_size is '-1'"),
    'a halo of words': (lambda model: said(model, halo='much'), "its metadata is damaged: halo is 'much'"),
    'two inputs': (with_input, '2 inputs and 1 outputs, where one image goes in and one comes out'),
    'four channels': (with_channel, 'that is no image of 3 channels'),
    "the process's memory": (lambda model: outside(model, '*/_ORT_MEM_ADDR_/*'), 'which is no file beside it'),
    'a file elsewhere': (lambda model: outside(model, '../secret'), 'which is no file beside it'),
    'a device': (lambda model: outside(model, '/dev/zero'), 'which is no file beside it'),
    'a short file': (lambda model: outside(model, 'short.bin', 1000), 'short.bin is shorter than it says')}


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('fault', FAULTS)
def test_a_faulty_model_is_refused(fault: str, engine: str, model: Any) -> None:
    pytest.importorskip(engine)
    change, words = FAULTS[fault]
    Path('short.bin').write_bytes(b'1234')
    Path('a.onnx').write_bytes(change(model).SerializeToString())
    with pytest.raises(VapsrError, match=re.escape(words)) as error:
        load_engine('a.onnx', engine=engine)
    assert 'a.onnx' in str(error.value)


@pytest.mark.parametrize('engine', ENGINES)
def test_data_beside_the_model_are_read(engine: str, model: Any) -> None:
    pytest.importorskip(engine)
    Path('a.onnx').write_bytes(model.SerializeToString())
    onnx.save_model(model, 'b.onnx', save_as_external_data=True, location='b.data', size_threshold=0)
    x = torch.rand(1, 3, 20, 24)
    assert torch.equal(load_engine('a.onnx', engine=engine)(x), load_engine('b.onnx', engine=engine)(x))


@pytest.mark.parametrize(('change', 'words'), [
    (lambda text: text[:-100], 'is not a model that OpenVINO can run'),
    (lambda text: '<!DOCTYPE x [<!ENTITY a "b">]>' + text, 'it has declarations'),
    (lambda text: text.replace('<dim>3</dim>', '<dim>-3</dim>'), r'can run: dimension \(-3\) in node dim must be'),
    (lambda text: text.replace('type="Parameter"', 'type="ReadValue"'), 'it has 0 inputs and 1 outputs'),
    (lambda text: re.sub(r'offset="\d+"', 'offset="99999999"', text, count=1), 'a.bin beside it is shorter than it says')])
def test_a_faulty_openvino_file_is_refused(change: Callable[[str], str], words: str, model: Any) -> None:
    openvino = pytest.importorskip('openvino')
    from vapsr_arch.engines.onnx_engines import openvino_core
    Path('a.onnx').write_bytes(model.SerializeToString())
    openvino.save_model(openvino_core().read_model('a.onnx'), 'a.xml', compress_to_fp16=False)
    assert load_engine('a.xml', engine='openvino').scale == 4
    Path('a.xml').write_text(change(Path('a.xml').read_text()))
    with pytest.raises(VapsrError, match=words):
        load_engine('a.xml', engine='openvino')
