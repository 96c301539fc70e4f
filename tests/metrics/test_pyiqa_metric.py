"""Metrics of pyiqa through BasicSR's interface, with a module in pyiqa's place: the real one has gigabytes of dependencies."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tests.conftest import Finished, photograph
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.metrics.measure import measure, prepare_metrics
from vapsr_arch.metrics.pyiqa_metric import calculate_pyiqa, metric_of
from vapsr_arch.options.reading import load_options


class FakeMetric:
    """The mean of red, for metrics without reference; the mean difference for the others; or the values given."""

    def __init__(self, name: str, values: Iterator[float] | None = None) -> None:
        self.metric_mode = 'NR' if name == 'niqe' else 'FR'
        self.values = values

    def __call__(self, *images: Tensor) -> Tensor:
        assert all(image.shape[:2] == (1, 3) and image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
                   for image in images)
        if self.values:
            return torch.tensor(next(self.values))
        return images[0][:, 0].mean() if len(images) == 1 else (images[0] - images[1]).abs().mean()


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A module in pyiqa's place; its `made` are the metrics that were created."""
    module = SimpleNamespace(made=[], list_models=lambda: ['dists', 'lpips', 'niqe'])

    def create_metric(name: str, device: torch.device, **arguments: Any) -> FakeMetric:
        module.made.append((name, arguments))
        return FakeMetric(name)

    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, 'pyiqa', module)
    metric_of.cache_clear()
    yield module
    metric_of.cache_clear()


def test_images_come_as_rgb_and_a_metric_is_made_once(pyiqa: SimpleNamespace) -> None:
    image, gt = np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16, 3), np.uint8)
    image[..., 2] = 51  # red
    gt[0] = 255  # cut off by crop_border
    metrics = {'lpips': {'type': 'calculate_pyiqa', 'metric': 'lpips', 'crop_border': 2, 'better': 'lower'},
               'niqe': {'type': 'calculate_pyiqa', 'metric': 'niqe'},
               'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}
    for _ in range(2):
        measured = measure(image, gt, metrics)
    assert measured['lpips'] == pytest.approx(0.2 / 3) and measured['niqe'] == pytest.approx(0.2) and measured['psnr'] > 5
    assert pyiqa.made == [('lpips', {}), ('niqe', {})]


def test_what_a_metric_needs_is_loaded_before_the_work(pyiqa: SimpleNamespace) -> None:
    prepare_metrics({'a': {'type': 'calculate_pyiqa', 'metric': 'dists', 'crop_border': 4, 'better': 'lower'},
                     'b': {'type': 'calculate_psnr', 'crop_border': 4}})
    assert pyiqa.made == [('dists', {})]
    with pytest.raises(OptionsError, match=r"^pyiqa has no metric lpisp; did you mean 'lpips'\?$"):
        prepare_metrics({'a': {'type': 'calculate_pyiqa', 'metric': 'lpisp'}})


def test_weights_that_cannot_be_had_are_one_sentence(pyiqa: SimpleNamespace, capfd: pytest.CaptureFixture) -> None:
    def create_metric(name: str, device: torch.device) -> None:
        print('Downloading: "https://example.org/weights/niqe_modelparameters.mat" to /cache/pyiqa/niqe_modelparameters.mat\n')
        raise URLError('Name or service not known')

    pyiqa.create_metric = create_metric
    with pytest.raises(VapsrError) as error:
        calculate_pyiqa(photograph(8, 8, 0), photograph(8, 8, 1), 'niqe')
    assert str(error.value) == (
        'the metric niqe needs niqe_modelparameters.mat, which cannot be downloaded (<urlopen error Name or service not known>): '
        'get it from https://example.org/weights/niqe_modelparameters.mat and put it at /cache/pyiqa/niqe_modelparameters.mat')
    assert not capfd.readouterr().out


def test_without_pyiqa_a_test_says_what_to_install_before_it_starts(
        test_options: Callable[..., str], vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    option_file = test_options(val={'metrics': {'lpips': {'type': 'calculate_pyiqa', 'metric': 'lpips'}}})
    result = vapsr('test', '-opt', option_file)
    assert (result.code, result.err) == (1, 'Error: the metric lpips: pyiqa is not installed: `pip install pyiqa`, or install '
                                            'this package with the extra [metrics]\n')


def test_a_test_writes_the_metric(pyiqa: SimpleNamespace, test_options: Callable[..., str],
                                  vapsr: Callable[..., Finished]) -> None:
    option_file = test_options(val={'metrics': {'lpips': {'type': 'calculate_pyiqa', 'metric': 'lpips'}}})
    assert vapsr('test', '-opt', option_file).code == 0
    with open('results/small/photos.csv') as file:
        assert file.readline() == 'image,psnr,lpips\n' and 0 < float(file.readline().split(',')[2]) < 1


@pytest.mark.parametrize('metric, better', [
    ({'type': 'calculate_niqe', 'crop_border': 4}, 'lower'), ({'type': 'calculate_psnr', 'crop_border': 4}, None),
    ({'type': 'calculate_pyiqa', 'metric': 'lpips-vgg'}, 'lower'), ({'type': 'calculate_pyiqa', 'metric': 'musiq'}, None),
    ({'type': 'calculate_pyiqa', 'metric': 'niqe_matlab'}, 'lower'), ({'type': 'calculate_pyiqa', 'metric': 'paq2piq'}, None),
    ({'type': 'calculate_niqe', 'crop_border': 4, 'better': 'higher'}, 'higher'),
])
def test_errors_are_known_to_be_better_when_lower(train_options: Callable[..., str], metric: dict, better: str | None) -> None:
    options = load_options(train_options(val={'metrics': {'m': metric}}), is_train=True)
    assert options['val']['metrics']['m'].get('better') == better


def test_training_keeps_the_lowest_of_an_error_as_the_best(pyiqa: SimpleNamespace, train_options: Callable[..., str],
                                                           vapsr: Callable[..., Finished]) -> None:
    values = (value for mean in (0.5, 0.2, 0.9) for value in [mean] * 4)  # four images, three validations
    pyiqa.create_metric = lambda name, device: FakeMetric(name, values)
    option_file = train_options(train={'total_iter': 3}, val={'val_freq': 1, 'metrics': {
        'lpips': {'type': 'calculate_pyiqa', 'metric': 'lpips'}}})
    options = yaml.safe_load(Path(option_file).read_text())
    del options['val']['metrics']['psnr']
    Path(option_file).write_text(yaml.safe_dump(options))
    assert vapsr('train', '-opt', option_file).code == 0
    log, = Path('experiments/small').glob('train_*.log')
    assert 'Best: 0.9000 @ 3 iter' not in log.read_text() and 'Best: 0.2000 @ 2 iter' in log.read_text()
