"""What networks cost, against the published figures and against sums done by hand."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import REPOSITORY
from tests.forked import run_forked
from vapsr_arch.archs import NETWORKS
from vapsr_arch.errors import VapsrError
from vapsr_arch.report import cost

VAPSR = dict(scale=4, num_feat=48, num_block=21)
VAPSR_S = dict(scale=4, num_feat=32, num_block=11, conv_groups=2)


# Published for an output of 1280x720, in G.
@pytest.mark.parametrize(('name', 'arguments', 'scale', 'published'), [
    ('RFDN', {}, 4, '23.76'),
    ('BSRN', {}, 4, '19.2'),
    ('BSRN_S', {}, 4, '8.29'),
])
def test_published_multi_adds(name: str, arguments: dict[str, Any], scale: int, published: str) -> None:
    decimals = len(published.partition('.')[2])
    assert f'{cost.multi_adds(NETWORKS[name](**arguments), scale) / 1e9:.{decimals}f}' == published


@pytest.mark.parametrize(('name', 'arguments', 'scale', 'published'), [
    ('VapSR', dict(VAPSR, num_block=20, scale=2), 2, '73.97'),
    ('VapSR', dict(VAPSR, num_block=20, scale=3), 3, '33.68'),
    ('VapSR', VAPSR, 4, '19.52'),
    ('VapSR', VAPSR_S, 4, '8.99'),
    ('IMDN', dict(scale=2), 2, '158.8'),
    ('IMDN', dict(scale=4), 4, '40.9'),
    ('PAN', dict(scale=2), 2, '70.5'),
    ('PAN', dict(scale=4), 4, '28.2'),
])
def test_published_multi_adds_of_networks_without_strides(name: str, arguments: dict[str, Any], scale: int,
                                                          published: str) -> None:
    """What they cost is proportional to the area, so that a hundredth of it will do; for x3, where 1280 / 3 is 427, a 70th."""
    decimals = len(published.partition('.')[2])
    size, part = ((72, 183), 70) if scale == 3 else ((72, 128), 100)
    assert f'{part * cost.multi_adds(NETWORKS[name](**arguments), scale, size) / 1e9:.{decimals}f}' == published


def test_the_default_size_is_rounded_up() -> None:
    assert cost.multi_adds(nn.Conv2d(3, 1, 1), 3) == 240 * 427 * 3


@pytest.mark.parametrize(('name', 'published'), [('RFDN', 112.03), ('BSRN_S', 65.76)])
def test_activations_of_the_ntire_2022_challenge(name: str, published: float) -> None:
    assert round(cost.activations(NETWORKS[name]()) / 1e6, 2) == published


def test_counts_by_hand(capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture) -> None:
    """Biases, normalisation, activation and interpolation count for nothing; a linear layer for multi-adds alone."""
    class Toy(nn.Module):
        num_in_ch = 1

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.same = nn.Conv2d(4, 4, (3, 5), padding='same', groups=2)
            self.norm = nn.BatchNorm2d(4)
            self.linear = nn.Linear(4, 5)
            self.unused = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.gelu(self.norm(self.same(self.conv(x))))
            x = nn.functional.layer_norm(self.linear(x.permute(0, 2, 3, 1)), (5,))
            return nn.functional.interpolate(x.permute(0, 3, 1, 2), scale_factor=3, mode='bilinear')

    network = Toy()
    assert cost.num_parameters(network) == (9 * 4 + 4) + (15 * 2 * 4 + 4) + (4 + 4) + (4 * 5 + 5) + (1 + 1)
    pixels = 10 * 14  # ceil(28 / 3), ceil(40 / 3)
    assert cost.multi_adds(network, 3, (28, 40)) == pixels * (9 * 4 + 15 * 2 * 4 + 4 * 5)
    assert cost.activations(network, (6, 5)) == 30 * (4 + 4)
    assert network.training and not network.norm.running_mean.any()
    assert capfd.readouterr() == ('', '') and not caplog.records


def test_latency_is_the_median_of_the_passes_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((5, 1, 100, 3, 2))
    monkeypatch.setattr(cost, '_cpu_seconds', lambda network, image: next(times))
    network = nn.Conv2d(3, 3, 3)
    assert cost.latency(network, (8, 9), repeats=5) == (3, f'CPU, {torch.get_num_threads()} threads', 5)


def test_latency_stops_when_its_time_is_up_but_times_one_pass() -> None:
    seen = []
    network = nn.Conv2d(3, 3, 3)
    network.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0].shape, torch.is_inference_mode_enabled())))
    measured = cost.latency(network, (8, 9), repeats=10, max_seconds=0)
    assert measured.repeats == 1 and measured.seconds > 0
    assert seen == [((1, 3, 8, 9), True)] * (cost.WARM_UP + 1)


needs_linux = pytest.mark.skipif(sys.platform != 'linux', reason='only Linux reports the peak of a process')


@needs_linux
def test_peak_memory_follows_the_images_kept_at_once() -> None:
    size, mega = (512, 512), 2**20
    one, kept = nn.Identity(), nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1))
    image, features = 3 * mega, 64 * mega  # 512 x 512 float32 of 3 and of 64 channels
    assert cost.peak_memory(one, size) < image + 8 * mega
    assert 2 * features <= cost.peak_memory(kept, size) < 3 * features


@needs_linux
def test_peak_memory_can_be_asked_for_by_a_script(tmp_path: Path) -> None:
    """Neither is the script run again, nor need its folder be the current one."""
    (tmp_path / 'my_network.py').write_text('from torch import nn\nclass Mine(nn.Conv2d): pass\n')
    script = tmp_path / 'script.py'
    script.write_text('from my_network import Mine\nfrom vapsr_arch.report.cost import peak_memory\n'
                      'print("once")\nprint(peak_memory(Mine(3, 8, 3), (64, 64)) > 0)\n')
    code = f'import runpy, sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPOSITORY)!r}]; runpy.run_path({str(script)!r})'
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ('once\nTrue\n', '')


@needs_linux
def test_a_failure_of_the_measuring_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, 'run_child', run_forked)
    with pytest.raises(VapsrError) as error:
        cost.peak_memory(nn.Conv2d(4, 1, 1), (40, 50))
    assert str(error.value).startswith('the peak memory at 50x40 pixels could not be measured: RuntimeError: Given')


def test_peak_memory_is_unknown_where_the_system_does_not_report_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cost, 'CLEAR_REFS', tmp_path / 'absent')
    assert cost.peak_memory(nn.Identity()) is None


@pytest.mark.gpu
def test_gpu() -> None:
    network = nn.Conv2d(3, 64, 1)
    measured = cost.latency(network, (32, 32), 'cuda', repeats=3)
    assert measured.seconds > 0 and measured[1:] == (torch.cuda.get_device_name(), 3)
    pixels = 512 * 512
    assert pixels * 4 * (3 + 64) <= cost.peak_memory(network, (512, 512), 'cuda') < pixels * 4 * (3 + 64) * 4
    assert next(network.parameters()).device.type == 'cpu'
