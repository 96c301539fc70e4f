"""The paths of a data set's images: one, or a list of them."""

from pathlib import Path

import pytest

from vapsr_arch.options.roots import change_roots, expanded, paths_of
from vapsr_arch.pipeline.prepared import missing_root
from vapsr_arch.report.records import data_state


def test_each_path_of_a_list_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/me')
    dataset = {'dataroot_gt': '~/HR', 'dataroot_lq': ['~/a', 'b/', 'c/~', '~nobody at all/d'], 'name': '~', 'dataroot_x': 3}
    change_roots(dataset, expanded)
    assert dataset == {'dataroot_gt': '/home/me/HR', 'dataroot_lq': ['/home/me/a', 'b', 'c/~', '~nobody at all/d'],
                       'name': '~', 'dataroot_x': 3}
    assert [paths_of(value) for value in ('a', ['a', 'b'], [], None, 3)] == [['a'], ['a', 'b'], [], [], []]


def test_the_files_of_all_paths_count(tmp_path: Path) -> None:
    """A set of a third-party class may have a list in a test, too."""
    for name in ('gt', 'a', 'b'):
        (tmp_path / name).write_text(name)
    several = {'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_lq': [str(tmp_path / 'a'), str(tmp_path / 'b')]}
    before = data_state(several)
    assert missing_root(several) is None and data_state(several) == before
    assert before['dataroot_lq'] == [*data_state({'dataroot_lq': several['dataroot_lq'][0]})['dataroot_lq'],
                                     *data_state({'dataroot_lq': several['dataroot_lq'][1]})['dataroot_lq']]
    (tmp_path / 'b').write_text('changed')
    assert data_state(several) != before
    (tmp_path / 'b').unlink()
    assert missing_root(several) == str(tmp_path / 'b')
