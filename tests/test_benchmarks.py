"""Those that `make bench-train` compares train the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / 'benchmarks'


def test_losses_are_those_of_srmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over twenty iterations: of the first contestant, BasicSR, and of that with every feature for CPUs."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from bench_data import make_sub_images
    make_sub_images(tmp_path, 2)

    def losses(features: int) -> list[float]:
        result = subprocess.run(
            [sys.executable, BENCHMARKS / 'bench_train.py', '--contestant', str(features), '--network', 'VapSR-S', '--folder',
             tmp_path, '--batch', '1'], input='20\n', capture_output=True, text=True,
            env=os.environ | {'CUDA_VISIBLE_DEVICES': ''})
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)['losses']
    first = losses(0)
    assert len(first) == 20 and losses(5) == pytest.approx(first, abs=1e-4)
