"""written_whole: the old file or the new one, never a part."""

import errno
from pathlib import Path

import pytest

from vapsr_arch.files import written_whole


def test_the_file_appears_at_the_end_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / 'a/b.txt'
    with written_whole(path) as temporary:
        temporary.write_text('new')
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == '.txt'
    assert path.read_text() == 'new'
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o444 == 0o444 or path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    import os
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'b.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', [None, '.b.tmp-abcd1234.txt'])
def test_the_systems_errors_name_the_file(name: str | None, tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, written_whole(tmp_path / 'b.txt'):
        raise OSError(errno.ENOSPC, 'No space left on device', name)
    assert raised.value.filename == str(tmp_path / 'b.txt')


def test_errors_of_other_files_keep_their_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, written_whole(tmp_path / 'b.txt'):
        (tmp_path / 'a.txt').read_text()
    assert raised.value.filename == str(tmp_path / 'a.txt')
