"""Where weights are found."""

from pathlib import Path

import pytest

from vapsr_arch.errors import VapsrError
from vapsr_arch.weights import names
from vapsr_arch.weights.names import DEFAULT, find_weights
from vapsr_arch.weights.networks import build_network


def test_the_shipped_weights_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = build_network(find_weights(DEFAULT))
    assert network.scale == 4 and type(network).__name__ == 'VapSR'


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    downloaded = tmp_path / 'experiments/pretrained_models/mine.safetensors'
    downloaded.parent.mkdir(parents=True)
    downloaded.touch()
    assert find_weights('mine').resolve() == downloaded
    Path('mine').touch()
    assert find_weights('mine') == Path('mine')


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VapsrError, match=r'VapSR-L: there is no such file .* there are .*VapSR-S_x4.*vapsr weights list'):
        find_weights('VapSR-L')


def test_weights_that_can_be_downloaded_are_answered_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, '_FOLDERS', (tmp_path,))
    with pytest.raises(VapsrError, match=r'; `vapsr weights get IMDN_x4` downloads it$'):
        find_weights('IMDN_x4')
