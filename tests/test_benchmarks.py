"""The benchmarks: those that `make bench-train` compares train the same; what `make bench-weights` measures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from vapsr_arch.archs.vapsr_arch import VapSR
from vapsr_arch.data.image_files import read_image
from vapsr_arch.data.matlab_resize import imresize

BENCHMARKS = REPOSITORY / 'benchmarks'


def test_losses_are_those_of_srmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over ten iterations: of the first contestant, BasicSR, and of that with every feature for CPUs."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from bench_data import make_sub_images
    make_sub_images(tmp_path, 2)

    def losses(features: int) -> list[float]:
        result = subprocess.run(
            [sys.executable, BENCHMARKS / 'bench_train.py', '--contestant', str(features), '--network', 'VapSR-S', '--folder',
             tmp_path, '--batch', '1'], input='10\n', capture_output=True, text=True,
            env=os.environ | {'CUDA_VISIBLE_DEVICES': ''})
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)['losses']
    first = losses(0)
    assert len(first) == 10 and losses(5) == pytest.approx(first, abs=1e-4)


def test_the_measures_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench_weights
    assert len(bench_weights.colours()) == 125 + 216 - 8

    def nearest(image: np.ndarray) -> np.ndarray:
        return image.repeat(2, 0).repeat(2, 1)
    assert bench_weights.colour_errors(nearest, bench_weights.CORNERS) == (0, 0)
    assert bench_weights.colour_errors(lambda image: nearest(image ^ 1), bench_weights.CORNERS) == (1, 0)
    assert bench_weights.gradient_error(lambda image: imresize(image, 2), 2) < 1
    assert 1 < bench_weights.gradient_error(nearest, 2) < 2  # half an HR pixel of steps of four levels
    flat = np.full((32, 48, 3), 100, np.uint8)
    flat[8:16, 8:16] += 10
    stepped = flat + (np.arange(48) % 2 == 0)[:, None].astype(np.uint8)
    assert bench_weights.block_step_ratio(flat, 8) == np.inf
    assert 1 < bench_weights.block_step_ratio(stepped, 8) < bench_weights.block_step_ratio(stepped[:16, :16], 8)


def test_the_table_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Without reference material, the rows that need none; of few colours, since all take a minute."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench_weights
    torch.save(VapSR(scale=2, num_feat=8, num_block=1, d_atten=16).state_dict(), tmp_path / 'VapSR-S_x2.pth')
    monkeypatch.setattr(bench_weights, 'CORNERS', bench_weights.CORNERS[:2])
    monkeypatch.setattr(bench_weights, 'colours', lambda: bench_weights.CORNERS)
    monkeypatch.setattr(bench_weights, 'REFERENCE', tmp_path)
    monkeypatch.setattr(sys, 'argv', ['bench_weights', '--quick', '--weights', str(tmp_path / 'VapSR-S_x2.pth')])
    bench_weights.main()
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[:3] == ['| x2 | bicubic | VapSR-S_x2 |', '|---|---|---|', lines[2]]
    assert [line.split(' | ')[0] for line in lines[2:]] == ['| Colours: largest shift', '| Colours: largest deviation',
                                                           '| Gradients: largest error']
    assert lines[2].split(' | ')[1] == '0.00'


def test_the_floor_of_files_is_of_all_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench_files
    image = np.arange(7 * 11, dtype=np.uint8).reshape(7, 11)
    monkeypatch.setattr(bench_files, 'PIECE', 20)
    parts = bench_files.pieces(image)
    assert len(parts) == 4 and sorted(np.concatenate([part.ravel() for part in parts])) == list(range(77))
    monkeypatch.setattr(bench_files, 'SMALL', (2, 20, 20))
    bench_files.make_jobs(tmp_path, 12e-4)
    shapes = [[read_image(path).pixels.shape for path in sorted((tmp_path / job).iterdir())] for job in bench_files.LIMITS]
    assert shapes == [[(30, 40, 3)], [(20, 20, 3)] * 2]
    torch.save(VapSR(scale=2, num_feat=8, num_block=1, d_atten=16).state_dict(), tmp_path / 'tiny_x2.pth')
    assert bench_files.network_time(str(tmp_path / 'tiny_x2.pth'), list((tmp_path / 'small images').iterdir())) > 0


def test_latencies_of_exported_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With random weights: in int8 these differ too much from float32 for a file."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench_infer
    monkeypatch.setattr(bench_infer, 'ROOT', tmp_path)
    monkeypatch.setattr(bench_infer, 'REFERENCE', tmp_path)
    monkeypatch.setattr(sys, 'argv', ['bench_infer', '--networks', 'VapSR-S', '--engines', *bench_infer.FILES,
                                      '--precisions', 'fp32', 'bf16', '--sizes', '40x32', '--rounds', '1'])
    bench_infer.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:4] for row in rows] == [['VapSR-S', f'{engine}-file', 'fp32', '40x32'] for engine in ('openvino', 'onnxruntime')]
    assert all(float(row[4]) > 0 and float(row[5]) > 0 and int(row[6]) >= 0 for row in rows)
