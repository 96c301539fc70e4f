"""What networks cost, against the published figures and against sums done by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import REPOSITORY
from tests.forked import run_forked
from vapsr_arch.errors import VapsrError
from vapsr_arch.report import cost


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
