"""The authors' checkpoints score what the authors' own code does, through `vapsr test` with the project's option files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, Finished

SCORES = {  # PSNR and SSIM on Y of Set5 and Set14, measured with the authors' implementation
    'VapSR_x2': ((38.1069, 0.9609), (33.7315, 0.9196)),
    'VapSR_x3': ((34.5251, 0.9281), (30.5151, 0.8453)),
    'VapSR_x4': ((32.3998, 0.8974), (28.7707, 0.7852)),
    'VapSR-S_x4': ((32.1662, 0.8947), (28.6446, 0.7826)),
}


SHIPPED = REPOSITORY / 'experiments/pretrained_models/VapSR-S_x4.pth'


@pytest.fixture
def scores(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
           vapsr: Callable[..., Finished]) -> Callable[..., list[tuple[float, float]]]:
    """Runs `vapsr test` with an option file of the project on some of its sets; gives the mean PSNR and SSIM of each."""
    monkeypatch.chdir(tmp_path)
    Path('datasets').symlink_to(reference / 'data')
    Path('experiments').mkdir()
    Path('experiments/pretrained_models').symlink_to(reference / 'weights')

    def run(name: str, datasets: tuple[str, ...], checkpoint: Path | None = None) -> list[tuple[float, float]]:
        options = yaml.safe_load((REPOSITORY / f'options/test/VapSR/test_{name}.yml').read_text())
        options['datasets'] = {phase: dataset for phase, dataset in options['datasets'].items() if dataset['name'] in datasets}
        options['val']['save_img'] = False
        if checkpoint:
            options['path']['pretrain_network_g'] = str(checkpoint)
        Path('test.yml').write_text(yaml.safe_dump(options))
        result = vapsr('test', '-opt', 'test.yml')
        assert result.code == 0, result.err
        means = []
        for dataset in datasets:
            lines = Path('results', options['name'], f'{dataset}.csv').read_text().splitlines()[1:]
            rows = [[float(value) for value in line.split(',')[1:]] for line in lines]
            means.append((sum(row[0] for row in rows) / len(rows), sum(row[1] for row in rows) / len(rows)))
        return means
    return run


@pytest.mark.parametrize('name', SCORES)
def test_checkpoints_score_what_the_authors_code_does(name: str, scores: Callable[..., list[tuple[float, float]]]) -> None:
    for (psnr, ssim), (their_psnr, their_ssim) in zip(scores(name, ('Set5', 'Set14')), SCORES[name]):
        assert psnr == pytest.approx(their_psnr, abs=0.0001)
        assert ssim == pytest.approx(their_ssim, abs=0.0001)


def test_the_shipped_checkpoint_is_small_and_has_both_keys() -> None:
    assert SHIPPED.stat().st_size < 1_500_000
    assert set(torch.load(SHIPPED, weights_only=True)) == {'params', 'params_ema'}


def test_the_shipped_checkpoint_scores_on_set5(scores: Callable[..., list[tuple[float, float]]]) -> None:
    (psnr, _), = scores('VapSR-S_x4', ('Set5',), SHIPPED)
    assert psnr >= 31.3
