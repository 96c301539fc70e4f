"""Files in int8: what is quantised, on which images, and that a poor one gets no name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import Finished
from tests.inference.export_helpers import save, small_network
from vapsr_arch.engines.graph_forms import for_onnxruntime
from vapsr_arch.engines.graphs import onnx_model
from vapsr_arch.engines.loading import load_engine
from vapsr_arch.errors import VapsrError
from vapsr_arch.export import int8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With two images, in `images`: RGB, and grey of 16 bits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'images').mkdir()
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (6, 5, 3), np.uint8))
    small.resize((90, 80), Image.Resampling.BICUBIC).save('images/a.png')
    Image.fromarray(np.full((70, 40), 2**15, np.uint16)).save('images/b.png')
    return tmp_path


def test_the_command_writes_files_in_int8_that_engines_read(folder: Path, vapsr: Callable[..., Finished]) -> None:
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    _, network = save(folder, 'VapSR-S')
    result = vapsr('export', 'VapSR-S.pth', '-o', 'a.onnx', '--opset', '13', '--openvino', 'ir', '--int8',
                   '--calibration', 'images')
    assert result.code == 0, result.err
    assert [line.partition(' in int8, ')[0] for line in result.out.splitlines()] == ['a.onnx:', 'ir/VapSR-S.xml:']
    model = onnx.load('a.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}['precision'] == 'int8'
    assert [entry.version for entry in model.opset_import if not entry.domain] == [13]
    x = int8.calibration_crops(Path('images'), network)[0][..., :31]
    with torch.no_grad():
        expected = network(x)
    for file, engine in (('a.onnx', 'onnxruntime'), ('ir/VapSR-S.xml', 'openvino')):
        difference = (load_engine(file, engine=engine)(x) - expected).abs().max()
        assert 1e-5 < difference < 0.1, engine


def test_the_first_convolution_and_the_last_three_stay_in_float32(folder: Path) -> None:
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    network = small_network('VapSR')
    crops = int8.calibration_crops(Path('images'), network)
    graph = onnx.load_model_from_string(int8.quantised(onnx_model(for_onnxruntime(network), {}), crops)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    quantised = [made_by.get(node.input[1]) == 'DequantizeLinear' for node in graph.node if node.op_type == 'Conv']
    assert quantised == [False] + [True] * 5 * 2 + [False] * 3


def test_crops_are_always_the_same_and_of_every_image(folder: Path) -> None:
    network = small_network('VapSR')
    crops, again = (int8.calibration_crops(Path('images'), network) for _ in range(2))
    assert len(crops) == 20 and all(map(torch.equal, crops, again))
    assert {tuple(crop.shape) for crop in crops} == {(1, 3, 64, 64), (1, 3, 64, 40)}
    grey = next(crop for crop in crops if crop.shape[3] == 40)
    torch.testing.assert_close(grey, torch.full((1, 3, 64, 40), 2**15 / (2**16 - 1)))


def test_shipped_photographs_calibrate_by_default() -> None:
    pytest.importorskip('skimage')
    assert len(int8.calibration_crops(None, small_network('VapSR'))) == 20


def test_images_must_be_as_large_as_the_network_asks(folder: Path) -> None:
    Path('small').mkdir()
    Image.new('RGB', (14, 30)).save('small/a.png')
    with pytest.raises(VapsrError, match=r'^small: every image is smaller than the 15x15 pixels that RFDN takes$'):
        int8.calibration_crops(Path('small'), small_network('RFDN'))


@pytest.mark.parametrize('wrong', [lambda y: y + 0.1, lambda y: y * float('nan')], ids=['far', 'nan'])
def test_a_poor_file_gets_no_name(wrong: Callable[[Tensor], Tensor]) -> None:
    network = small_network('VapSR')
    crops = [torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))]
    assert int8.check_int8(Path('a.onnx'), network, network, crops) == 100
    with pytest.raises(VapsrError, match=r'^a.onnx was not written: on the calibration images, int8 is .* dB from float32'):
        int8.check_int8(Path('a.onnx'), lambda x: wrong(network(x)), network, crops)


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--int8', '--torch-export', 'a.pt2'), '--int8 is for -o FILE.onnx and --openvino DIR, without --fp16'),
    (('--int8', '--fp16', '-o', 'a.onnx'), '--int8 is for -o FILE.onnx and --openvino DIR, without --fp16'),
    (('--calibration', 'images', '-o', 'a.onnx'), '--calibration is for --int8'),
])
def test_the_command_refuses(folder: Path, vapsr: Callable[..., Finished], arguments: tuple[str, ...], words: str) -> None:
    save(folder, 'VapSR')
    result = vapsr('export', 'VapSR.pth', *arguments)
    assert result.code == 2 and words in result.err
