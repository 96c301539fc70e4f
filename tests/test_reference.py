"""The authors' checkpoints score what the authors' own code does, through `vapsr test` with the project's option files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, Finished

SCORES = {  # PSNR and SSIM on Y of Set5 and Set14, measured with the authors' implementation
    'VapSR_x2': ((38.1069, 0.9609), (33.7315, 0.9196)),
    'VapSR_x3': ((34.5251, 0.9281), (30.5151, 0.8453)),
    'VapSR_x4': ((32.3998, 0.8974), (28.7707, 0.7852)),
    'VapSR-S_x4': ((32.1662, 0.8947), (28.6446, 0.7826)),
}


@pytest.mark.parametrize('name', SCORES)
def test_checkpoints_score_what_the_authors_code_does(name: str, reference: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch, vapsr: Callable[..., Finished]) -> None:
    monkeypatch.chdir(tmp_path)
    Path('datasets').symlink_to(reference / 'data')
    Path('experiments').mkdir()
    Path('experiments/pretrained_models').symlink_to(reference / 'weights')
    options = yaml.safe_load((REPOSITORY / f'options/test/VapSR/test_{name}.yml').read_text())
    options['datasets'] = {phase: dataset for phase, dataset in options['datasets'].items()
                           if dataset['name'] in ('Set5', 'Set14')}
    options['val']['save_img'] = False
    Path('test.yml').write_text(yaml.safe_dump(options))
    result = vapsr('test', '-opt', 'test.yml')
    assert result.code == 0, result.err
    for dataset, (psnr, ssim) in zip(('Set5', 'Set14'), SCORES[name]):
        lines = (Path('results') / options['name'] / f'{dataset}.csv').read_text().splitlines()[1:]
        rows = [[float(value) for value in line.split(',')[1:]] for line in lines]
        assert sum(row[0] for row in rows) / len(rows) == pytest.approx(psnr, abs=0.002)
        assert sum(row[1] for row in rows) / len(rows) == pytest.approx(ssim, abs=0.0001)
