"""`vapsr data lr | subimages | lmdb | pack` stopped, killed or run twice at a time: nothing is lost or half-written."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.data_helpers import ROOT, contents, cut_off_at, in_subprocess, killed_in, stopped_in
from vapsr_arch.data import lmdb_store

Vapsr = Callable[..., tuple[int, str]]
ONE = ('--workers', '1')
LR = ('lr', 'HR', 'out', '--scale', 2, 4)
SUBIMAGES = ('subimages', 'HR', 'out', '--size', 24, '--step', 12)
LMDB = ('lmdb', 'HR', 'out.lmdb')
PACK = ('pack', 'HR', 'out.pack', '--scale', 2)


def undisturbed(arguments: tuple, photographs: Path, tmp_path: Path, vapsr_output: Vapsr,
                monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a run that nothing disturbs leaves in a folder. The current folder is then its like, before the run."""
    for name in ('undisturbed', 'other'):
        shutil.copytree(photographs, tmp_path / name / 'HR')
    monkeypatch.chdir(tmp_path / 'undisturbed')
    assert vapsr_output('data', *arguments, *ONE)[0] == 0
    monkeypatch.chdir(tmp_path / 'other')
    return contents(tmp_path / 'undisturbed')


@pytest.mark.parametrize(('arguments', 'function', 'count'), [
    # Between two steps: killed when a function is called for the `count`th time.
    (LR, 'vapsr_arch.files:Path.replace', 1), (LR, 'vapsr_arch.files:Path.replace', 5), (LR, 'vapsr_arch.files:os.fsync', 3),
    (SUBIMAGES, 'vapsr_arch.files:Path.replace', 7), (LMDB, 'vapsr_arch.data.lmdb_store:read_bytes', 3),
    (LMDB, 'vapsr_arch.data.lmdb_store:Path.rename', 1), (PACK, 'vapsr_arch.data.pack:PackWriter.add', 3),
    (PACK, 'vapsr_arch.data.packing:os.replace', 1), (PACK, 'vapsr_arch.data.packing:os.replace', 2),
    # In the middle of a write: killed when a file has `count` bytes.
    (LR, None, 1000), (LR, None, 3000), (SUBIMAGES, None, 3000), (LMDB, None, 8192),
    (PACK, None, 5000), (PACK, None, 20000), (PACK, None, 38000)])
def test_killed_and_run_again_gives_the_same_bytes(arguments: tuple, function: str | None, count: int, photographs: Path,
                                                   tmp_path: Path, vapsr_output: Vapsr,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, '_COMMIT_BYTES', 1)  # every record is on the disk before the next is read
    wanted = undisturbed(arguments, photographs, tmp_path, vapsr_output, monkeypatch)
    killed = Path.cwd()
    before = contents(killed)
    if function:
        killed_in(*function.split(':'), count, 'data', *arguments, *ONE,
                  setup='from vapsr_arch.data import lmdb_store\nlmdb_store._COMMIT_BYTES = 1\n')
    else:
        cut_off_at(count, 'data', *arguments, *ONE)
        assert count in (path.stat().st_size for path in killed.rglob('*'))
    left = contents(killed)
    assert left != before and left != wanted
    for name in left:  # what is half-written is hidden
        if not any(part.startswith('.') for part in Path(name).parts):
            assert left[name] == wanted[name]
    assert vapsr_output('data', *arguments, *ONE)[0] == 0
    assert contents(killed) == wanted


@pytest.mark.parametrize(('arguments', 'function', 'count'), [
    (LR, 'vapsr_arch.files:Path.replace', 5), (SUBIMAGES, 'vapsr_arch.files:Path.replace', 7),
    (LMDB, 'vapsr_arch.data.lmdb_store:read_bytes', 3), (PACK, 'vapsr_arch.data.pack:PackWriter.add', 3)])
def test_ctrl_c_leaves_nothing_half_written(arguments: tuple, function: str, count: int, photographs: Path, tmp_path: Path,
                                            vapsr_output: Vapsr, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = undisturbed(arguments, photographs, tmp_path, vapsr_output, monkeypatch)
    stopped = Path.cwd()
    stopped_in(*function.split(':'), count, 'data', *arguments, *ONE)
    left = contents(stopped)
    assert left != wanted and left.items() <= wanted.items()
    assert vapsr_output('data', *arguments, *ONE)[0] == 0
    assert contents(stopped) == wanted


def test_killed_with_workers_and_run_again(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    for copy in range(30):
        shutil.copy(photographs / 'a.png', photographs / f'a{copy}.png')
    out = tmp_path / 'LR'
    command = [sys.executable, '-m', 'vapsr_arch', 'data', 'lr', photographs, out, '--scale', '2', '--workers', '2']
    process = subprocess.Popen(command, env=os.environ | {'PYTHONPATH': str(ROOT)}, stderr=subprocess.PIPE)
    while not any(out.glob('X2/*.png')) and process.stderr.read(1):
        pass
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate(timeout=120)  # ends when the workers have ended with their parent
    assert vapsr_output('data', 'lr', photographs, out, '--scale', 2, *ONE)[0] == 0
    vapsr_output('data', 'lr', photographs, tmp_path / 'again', '--scale', 2, *ONE)
    assert contents(out) == contents(tmp_path / 'again')


def test_two_runs_do_not_write_to_one_folder(photographs: Path, tmp_path: Path, vapsr_output: Vapsr) -> None:
    from vapsr_arch.files import locked
    (tmp_path / 'LR').mkdir()
    with locked(tmp_path / 'LR'):
        code, output = vapsr_output('data', 'lr', photographs, tmp_path / 'LR', '--scale', 2)
    assert code == 1 and 'another run is writing there: wait until it is done' in output


@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('arguments', [('lr', 'HR', 'out', '--scale', 4), ('pack', 'HR', 'out.pack')])
def test_a_damaged_image_is_reported_by_us_alone(arguments: tuple, workers: int, photographs: Path, tmp_path: Path) -> None:
    (photographs / 'bad.png').write_bytes((photographs / 'a.png').read_bytes()[:3000])
    process = in_subprocess('-m', 'vapsr_arch', 'data', *arguments, '--workers', workers, cwd=tmp_path)
    assert 'HR/bad.png cannot be decoded' in process.stderr and 'WARN' not in process.stderr


def test_ctrl_c_is_no_traceback_of_workers_that_are_starting(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text('import os, signal\nfrom vapsr_arch.data.batch import run_batch\n'
                      'if __name__ != "__main__":\n    os.kill(os.getpid(), signal.SIGINT)\n'
                      'if __name__ == "__main__":\n    print([result for _, result in run_batch(abs, [1, -2], "x", 2)])\n')
    process = in_subprocess(script)
    assert process.stdout == '[1, 2]\n' and 'Traceback' not in process.stderr


def test_a_worker_that_is_killed_is_one_sentence(photographs: Path, tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text('import os, signal\nfrom vapsr_arch.data.batch import run_batch\n'
                      'def work(job):\n    os.kill(os.getpid(), signal.SIGKILL)\n'
                      'if __name__ == "__main__":\n    print(list(run_batch(work, [1, 2], "x", 2)))\n')
    assert 'a worker process was killed, perhaps because memory ran out' in in_subprocess(script).stderr
