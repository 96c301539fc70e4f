"""Pairs of checkpoint and state on disk."""

from pathlib import Path
from typing import Any

import pytest

from tests.models.training_helpers import state_of_a_run
from vapsr_arch.errors import VapsrError
from vapsr_arch.models import run_files


@pytest.fixture
def opt(tmp_path: Path) -> dict[str, Any]:
    return {'path': {'models': str(tmp_path / 'models'), 'training_states': str(tmp_path / 'states')},
            'logger': {'save_checkpoint_freq': 10}, 'train': {'total_iter': 100},
            'datasets': {'train': {}, 'val': {}, 'val_1': {}}, 'val': {'metrics': {'psnr': {}, 'ssim': {}}}}


def test_no_state_is_left_beside_a_checkpoint_of_another_run(opt: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was resumed from before iteration 8 is killed between the two files of iteration 8."""
    run_files.save_pair(opt, 8, b'old', b'old', 8)
    write = run_files.write

    def killed(path: Path, data: bytes) -> None:
        if path.suffix == '.state':
            raise KeyboardInterrupt
        write(path, data)
    monkeypatch.setattr(run_files, 'write', killed)
    with pytest.raises(KeyboardInterrupt):
        run_files.save_pair(opt, 8, b'new', b'new', 8)
    assert run_files.network_path(opt, 8).read_bytes() == b'new'
    assert not run_files.state_path(opt, 8).exists()


def test_a_checkpoint_without_a_state_is_removed_with_its_age(opt: dict[str, Any]) -> None:
    """A process was killed between the removals of the two files of iteration 2; best and latest checkpoints stay."""
    opt['logger']['keep_last'] = 1
    for label in (2, 'latest', 'best_psnr', 9):
        run_files.write(run_files.network_path(opt, label), b'')
    for iteration in (4, 6, 8):
        run_files.save_pair(opt, iteration, b'', b'', 4)
    assert {path.name for path in Path(opt['path']['models']).iterdir()} == {
        'net_g_4.pth', 'net_g_8.pth', 'net_g_9.pth', 'net_g_latest.pth', 'net_g_best_psnr.pth'}
    assert {path.name for path in Path(opt['path']['training_states']).iterdir()} == {'4.state', '8.state'}


def test_one_byte_changed_in_a_state_is_found_or_changes_nothing(opt: dict[str, Any]) -> None:
    opt['path']['ignore_resume_networks'] = ['network_g']
    path, whole, refused = run_files.state_path(opt, 3), run_files.to_bytes(state_of_a_run()), 0
    run_files.write(path, whole)
    same = run_files.to_bytes(run_files.read_state(opt, path))
    places = range(0, len(whole), 29)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1:])
        try:
            assert run_files.to_bytes(run_files.read_state(opt, path)) == same, place
        except VapsrError as error:
            assert 'is not a training state of BasicSR, or is damaged' in str(error)
            refused += 1
    assert refused > len(places) // 2


def test_what_cannot_be_written_is_named(opt: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / 'models').touch()
    with pytest.raises(VapsrError, match=r'models/net_g_8\.pth cannot be written: (File exists|Not a directory)'):
        run_files.save_pair(opt, 8, b'', b'', 8)


def test_bytes_to_come(opt: dict[str, Any]) -> None:
    pairs, latest, best, temporary = 10 * (100 + 50), 100, 4 * 100, 100
    assert run_files.bytes_to_come(opt, 0, 100, 50) == pairs + latest + best + temporary
    assert run_files.bytes_to_come(opt, 85, 100, 50) == 2 * 150 + latest + best + temporary
    opt['logger']['keep_last'] = 3
    assert run_files.bytes_to_come(opt, 0, 100, 50) == (3 + 1) * 150 + latest + best + temporary
    assert run_files.bytes_to_come(opt, 15, 100, 50, pairs_there=1) == (2 + 1) * 150 + latest + best + temporary
    assert run_files.bytes_to_come(opt, 50, 100, 50, pairs_there=3, others_there=5) == 150 + temporary
