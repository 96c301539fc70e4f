"""Which files become which: files, folders, patterns; what is refused before anything is done."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vapsr_arch.data.batch import sources_of
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.inference.jobs import Job, plan_jobs, shard_of


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes empty files in the current folder, which is empty."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
    return make


def _names(*inputs: str, out: str = 'out', **options: object) -> dict[str, str]:
    return {str(job.source): str(job.output) for job in plan_jobs(inputs, Path(out), **options)}


def test_files_go_into_the_folder(files: Callable[..., None]) -> None:
    files('a.png', 'photos/b.JPG')
    assert _names('a.png', 'photos/b.JPG') == {'a.png': 'out/a.png', 'photos/b.JPG': 'out/b.JPG'}


def test_one_file_becomes_the_file_that_is_named(files: Callable[..., None]) -> None:
    files('a.png')
    job, = plan_jobs(['a.png'], Path('big.tif'))
    assert (str(job.output), job.kind) == ('big.tif', 'tiff')
    for options in (dict(suffix='_x4'), dict(kind='png')):
        with pytest.raises(OptionsError, match='names the output'):
            plan_jobs(['a.png'], Path('big.tif'), **options)


def test_several_files_do_not_become_one(files: Callable[..., None]) -> None:
    files('a.png', 'b.png', 'file')
    for out in ('big.tif', 'file'):
        with pytest.raises(OptionsError, match='2 images need a folder'):
            _names('a.png', 'b.png', out=out)


def test_a_folder_stands_for_its_images(files: Callable[..., None]) -> None:
    files('in/a.png', 'in/b.txt', 'in/.c.png', 'in/sub/d.tiff')
    assert _names('in') == {'in/a.png': 'out/a.png'}
    Path('out').symlink_to('out')
    assert _names('in', recursive=True) == {'in/a.png': 'out/a.png', 'in/sub/d.tiff': 'out/sub/d.tiff'}


def test_outputs_within_the_input_folder_are_no_inputs(files: Callable[..., None]) -> None:
    files('in/a.png', 'in/x4/a.png')
    assert _names('in', out='in/x4', recursive=True) == {'in/a.png': 'in/x4/a.png'}


def test_patterns(files: Callable[..., None]) -> None:
    files('in/a1.png', 'in/a2.png', 'in/b.png', 'in/sub/a3.png', 'in/[x].png')
    assert _names('in/a*.png') == {'in/a1.png': 'out/a1.png', 'in/a2.png': 'out/a2.png'}
    assert _names('in/**/a*.png', recursive=True).keys() == {'in/a1.png', 'in/a2.png', 'in/sub/a3.png'}
    assert _names('in/[x].png') == {'in/[x].png': 'out/[x].png'}  # a name, not a pattern


def test_a_file_named_twice_is_done_once(files: Callable[..., None]) -> None:
    files('in/a.png')
    assert len(_names('in', 'in/a.png', './in/*.png', str(Path('in/a.png').resolve()))) == 1


def test_suffix_and_format(files: Callable[..., None]) -> None:
    files('a.png', 'b.tif', 'c.d.png')
    assert list(_names('a.png', 'b.tif', 'c.d.png', suffix='_x4').values()) == ['out/a_x4.png', 'out/b_x4.tif', 'out/c.d_x4.png']
    assert list(_names('a.png', 'b.tif', kind='jpeg').values()) == ['out/a.jpg', 'out/b.jpg']


def test_a_name_without_a_format_needs_one(files: Callable[..., None]) -> None:
    files('a')
    with pytest.raises(VapsrError, match='names no format'):
        _names('a')
    assert _names('a', kind='png') == {'a': 'out/a.png'}


def test_two_inputs_of_one_output_are_refused(files: Callable[..., None]) -> None:
    files('in/a.png', 'in2/a.png', 'in/a.jpg')
    with pytest.raises(VapsrError, match=r'in/a\.png and in2/a\.png would both become out/a\.png'):
        _names('in/a.png', 'in2/a.png')
    with pytest.raises(VapsrError, match='would both become'):
        _names('in', kind='png')


def test_an_output_over_an_input_is_refused(files: Callable[..., None]) -> None:
    files('in/a.png', 'in/a_x4.png')
    for inputs, out, suffix in ((['in'], 'in', ''), (['in/a.png'], 'in/a.png', ''), (['in'], 'in/../in', ''),
                                (['in'], 'in', '_x4')):
        with pytest.raises(VapsrError, match='would be overwritten'):
            _names(*inputs, out=out, suffix=suffix)


def test_an_output_over_an_input_is_seen_through_links(files: Callable[..., None]) -> None:
    files('in/a.png')
    Path('link').symlink_to('in')
    with pytest.raises(VapsrError, match='would be overwritten'):
        _names('in', out='link')


@pytest.mark.parametrize(('given', 'message'), [('none', 'no such file'), ('*.gif', 'no such file'), ('empty', 'no image')])
def test_inputs_that_are_not_there(given: str, message: str, files: Callable[..., None]) -> None:
    files('empty/readme.txt')
    with pytest.raises(VapsrError, match=message):
        _names(given)


def test_what_is_skipped_is_counted_and_named(files: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    files('in/a.png', 'in/b.gif', 'in/c.heic', 'in/.hidden', 'in/.cache/d.png', 'in/e.JFIF', 'in/f.jpe')
    assert _names('in', recursive=True) == {f'in/{name}': f'out/{name}' for name in ('a.png', 'e.JFIF', 'f.jpe')}
    assert capsys.readouterr().err == 'in: 2 files are skipped, of no format that is read: b.gif, c.heic\n'


def test_folders_that_are_skipped_are_named(files: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    files('in/a.png', 'in/2024/b.png', 'in/2025/c.png', 'in/.cache/d.png', 'in/out/a.png')
    assert _names('in', out='in/out') == {'in/a.png': 'in/out/a.png'}
    assert capsys.readouterr().err == 'in: 2 folders within it are skipped: 2024, 2025; -r searches folders within folders, too\n'


def test_one_that_is_skipped(files: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    files('in/a.png', 'in/notes.txt', 'in/2024/b.png')
    assert _names('in') == {'in/a.png': 'out/a.png'}
    assert capsys.readouterr().err == ('in: 1 file is skipped, of no format that is read: notes.txt\n'
                                       'in: 1 folder within it is skipped: 2024; -r searches folders within folders, too\n')


def test_a_suffix_is_no_path_and_a_name_not_too_long(files: Callable[..., None]) -> None:
    files('in/a.png', f'in/{"n" * 250}.png')
    with pytest.raises(OptionsError, match='it is no path'):
        _names('in/a.png', suffix='/../../x')
    with pytest.raises(VapsrError, match='longer than 255 bytes'):
        _names('in', suffix='_x4')


def test_an_output_of_no_format_is_refused(files: Callable[..., None]) -> None:
    files('a.png')
    with pytest.raises(OptionsError, match=r'\.gif files are not written'):
        _names('a.png', out='out.gif')


def test_shards_share_the_images_whatever_their_order() -> None:
    jobs = [Job(Path(f'{name}.png'), Path(f'out/{name}.png'), 'png') for name in 'gcabfed']
    shards = [shard_of(jobs[::-1] if number == 2 else jobs, number, 3) for number in (1, 2, 3)]
    assert [''.join(job.source.stem for job in shard) for shard in shards] == ['adg', 'be', 'cf']
    assert shard_of(jobs[:2], 3, 3) == []


def test_what_is_no_file_is_not_passed_over_in_silence(files: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    files('in/a.png', 'in/sub/b.png')
    Path('in/lost.png').symlink_to('nowhere.png')
    Path('in/loop.png').symlink_to('loop.png')
    os.mkfifo('in/pipe.png')
    for given in ('in/lost.png', 'in/loop.png', 'in/pipe.png', '/dev/null'):
        with pytest.raises(VapsrError, match=f'^{given} is neither a file nor a folder: '):
            _names(given, 'in/a.png')
    with pytest.raises(VapsrError, match=r'^in/s\*: there is no such file or folder, nor a file that matches'):
        _names('in/s*')
    with pytest.raises(OptionsError, match='an input is an empty text'):
        _names('')
    assert _names('in/*') == {'in/a.png': 'out/a.png'}
    assert capsys.readouterr().err == 'in/*: 4 files are skipped, of no format that is read: loop.png, lost.png, pipe.png, ...\n'
    assert _names('in', recursive=True) == {'in/a.png': 'out/a.png', 'in/sub/b.png': 'out/sub/b.png'}
    assert capsys.readouterr().err == 'in: 3 files are skipped, of no format that is read: loop.png, lost.png, pipe.png\n'
    assert sources_of([Path('in')]) == [Path('in/a.png')]
    assert 'in: 3 files are skipped, of no format that is read: loop.png, lost.png, pipe.png\n' in capsys.readouterr().err
