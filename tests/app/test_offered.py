"""The weights that the page offers: shipped ones that are there, automatic, and those given."""

import shutil
from pathlib import Path

import pytest

from vapsr_arch.app.offered import AUTOMATIC, OfferedWeights
from vapsr_arch.errors import OptionsError, VapsrError


@pytest.fixture
def shipped(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which alone shipped weights are looked for: for x2, for clean images and for photographs."""
    folder = tmp_path / 'shipped'
    folder.mkdir()
    for name in ('VapSR-S_x2', 'VapSR-S_x2_photo', 'other_x2', 'VapSR-S_x2_trial'):
        shutil.copy(tiny_weights, folder / f'{name}.pth')
    monkeypatch.setattr('vapsr_arch.weights.names._FOLDERS', (folder,))
    return folder


def test_shipped_weights_and_the_kind_of_the_file(shipped: Path, tmp_path: Path) -> None:
    offered = OfferedWeights()
    assert offered.scales == [2] and offered.first == (2, AUTOMATIC)
    assert offered.names(2) == [AUTOMATIC, 'VapSR-S_x2', 'VapSR-S_x2_photo']
    (tmp_path / 'clean.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    (tmp_path / 'lossy.png').write_bytes(b'\xff\xd8\xff')  # whatever its name
    assert offered.chosen(2, AUTOMATIC, tmp_path / 'clean.png')[0] == 'VapSR-S_x2'
    assert offered.chosen(2, AUTOMATIC, tmp_path / 'lossy.png')[0] == 'VapSR-S_x2_photo'
    name, upscaler = offered.chosen(2, 'VapSR-S_x2', tmp_path / 'lossy.png')
    assert name == 'VapSR-S_x2' and upscaler.scale == 2
    assert upscaler is offered.chosen(2, AUTOMATIC, tmp_path / 'clean.png')[1]  # loaded once


def test_given_weights_come_first(shipped: Path, tiny_weights: Path) -> None:
    offered = OfferedWeights([str(tiny_weights), 'VapSR-S_x2'])
    assert offered.first == (2, 'tiny.pth')
    assert offered.names(2) == [AUTOMATIC, 'VapSR-S_x2', 'VapSR-S_x2_photo', 'tiny.pth']


def test_without_shipped_weights(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('vapsr_arch.weights.names._FOLDERS', (tmp_path,))
    assert OfferedWeights([str(tiny_weights)]).names(2) == ['tiny.pth']
    with pytest.raises(VapsrError, match='no shipped weights'):
        OfferedWeights()


def test_what_is_not_offered(shipped: Path, tiny_weights: Path, tmp_path: Path) -> None:
    offered = OfferedWeights()
    for scale, name in ((2, str(tiny_weights)), (3, 'VapSR-S_x2'), (2, 'other_x2')):
        with pytest.raises(OptionsError, match='there are no weights'):
            offered.chosen(scale, name, tmp_path / 'a.png')
    shutil.copy(tiny_weights, tmp_path / 'tiny.pth')
    with pytest.raises(OptionsError, match='two files are called tiny'):
        OfferedWeights([str(tiny_weights), str(tmp_path / 'tiny.pth')])
