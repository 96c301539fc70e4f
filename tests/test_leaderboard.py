"""`make leaderboard`: what it takes, what it leaves out, and what it writes."""

import hashlib
import shutil
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
import yaml

from tests.conftest import REPOSITORY
from tests.report.quick_benchmarks import benchmark_quickly
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.errors import VapsrError

NETWORK = '''
import torch


class Repeat(torch.nn.Module):
    """Nearest neighbours, of images in [0, 255]."""

    def __init__(self, upscale):
        super().__init__()
        self.upscale, self.weight = upscale, torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        assert x.max() > 1
        return self.weight * x.repeat_interleave(self.upscale, 2).repeat_interleave(self.upscale, 3)
'''


@pytest.fixture
def leaderboard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / 'benchmarks')
    import leaderboard
    return leaderboard


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with option files, a set of one image at two scales, and a network of its own."""
    (tmp_path / 'options').symlink_to(REPOSITORY / 'options')
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'network.py').write_text(NETWORK)
    torch.save({'weight': torch.ones(1)}, tmp_path / 'network.pth')
    hr = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8), (0, 0), 2)
    for folder, image in (('HR', hr), ('LR_bicubic/X4', imresize(hr, 1 / 4)), ('LR_bicubic/X2', imresize(hr, 1 / 2))):
        (tmp_path / 'datasets/Set5' / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'datasets/Set5' / folder / 'image.png'), image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_data_is_whole(leaderboard: ModuleType) -> None:
    """Every file of a repository has a sum, and every sum is of a file; option files are there; rows have names of their own."""
    data = yaml.safe_load(leaderboard.DATA.read_text())
    named = {(network['repository'], path) for network in data['networks'] if 'repository' in network
             for path in (network['weights'], network.get('code', '').rpartition(':')[0]) if path}
    assert named == {(repository, path) for repository, sums in data['sums'].items() for path in sums}
    assert all((REPOSITORY / network['option_file']).is_file() for network in data['networks'] if 'option_file' in network)
    names = [(network['name'], network.get('scale', 4)) for network in data['networks']]
    assert len(set(names)) == len(names) and sum(scale == 4 for _, scale in names) >= 15
    assert set(data['sums']) == set(data['repositories'])


def test_a_page_from_what_can_be_had(leaderboard: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture) -> None:
    clone = project / 'clones/someone/networks'
    clone.mkdir(parents=True)
    for name in ('network.py', 'network.pth'):
        (clone / name).write_bytes((project / name).read_bytes())
    (clone / 'other.pth').write_bytes(b'other weights')
    sums = {name: hashlib.sha256((clone / name).read_bytes()).hexdigest() for name in ('network.py', 'network.pth')}
    theirs = {'repository': 'networks', 'code': 'network.py:Repeat', 'weights': 'network.pth'}
    data = {'repositories': {'networks': {'address': 'someone/networks', 'commit': 'c0ffee0', 'licence': 'MIT'}},
            'sums': {'networks': sums | {'other.pth': 64 * '0'}},
            'networks': [
                {'name': 'Mine', 'code': 'network.py:Repeat', 'weights': 'network.pth',
                 'options': {'upscale': 4, 'img_range': 255}},
                {'name': 'Theirs', **theirs, 'options': {'upscale': 4, 'img_range': 255},
                 'published': {'Set5': 99.0, 'parameters': 0.5, 'validation': 26.9}},
                {'name': 'Theirs', 'scale': 2, **theirs, 'options': {'upscale': 2, 'img_range': 255}},
                {'name': 'Other', **theirs, 'weights': 'other.pth'}]}
    (project / 'leaderboard.yml').write_text(yaml.safe_dump(data))
    monkeypatch.setattr(leaderboard, 'DATA', project / 'leaderboard.yml')
    benchmark_quickly(monkeypatch)
    leaderboard.main(project / 'clones')

    assert 'left out: Other, x4' in capsys.readouterr().out
    page = (project / 'docs/leaderboard.md').read_text()
    assert page.index('## x4') < page.index('## x2') < page.index('## Left out')
    rows = {line.split(' | ')[0].strip('| '): line for line in page.partition('## x2')[0].splitlines() if line.startswith('| ')}
    psnr = float(next(line for line in page.splitlines() if line.startswith('| Mine')).split(' | ')[4].split()[0])
    assert f'Set5: {psnr:.2f}, published 99.00 ({psnr - 99:+.2f})' in rows['Theirs']
    assert 'why they differ: unexplained |' in rows['Theirs']
    assert 'parameters [M]: 0.000, published 0.500' in rows['Theirs'] and '26.90' in rows['Theirs']
    assert 'https://github.com/someone/networks/tree/c0ffee0' in page
    assert 'Set14: its images are not under datasets/' in page and 'Other, x4: ' in page
    for plot in ('leaderboard_psnr_latency_x4.png', 'leaderboard_psnr_parameters_x2.png'):
        assert f'({plot})' in page and (project / 'docs' / plot).stat().st_size

    # Without the clones three rows are lost, bicubic at x2 with them: what is published stays.
    monkeypatch.setattr(leaderboard, 'download', lambda source, path: (_ for _ in ()).throw(VapsrError('no network')))
    shutil.rmtree(project / 'results/leaderboard/repositories')
    leaderboard.main(None)
    assert 'docs/leaderboard.md stays: 3 of its rows could not be measured here, such as Theirs x2' in capsys.readouterr().out
    assert (project / 'docs/leaderboard.md').read_text() == page
    other = (project / 'results/leaderboard/leaderboard.md').read_text()
    assert '| Mine |' in other and '| Theirs |' not in other and 'Theirs, x4: no network' in other
    assert (project / 'results/leaderboard/leaderboard_psnr_parameters_x4.png').is_file()


def test_a_scale_without_a_set_has_its_costs(leaderboard: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / 'datasets/Set5/LR_bicubic/X2')
    torch.save({'weight': torch.ones(1)}, project / 'network.pth')
    (project / 'leaderboard.yml').write_text(yaml.safe_dump({'networks': [
        {'name': f'Mine{scale}', 'scale': scale, 'code': 'network.py:Repeat', 'weights': 'network.pth',
         'options': {'upscale': scale, 'img_range': 255}} for scale in (4, 2)]}))
    monkeypatch.setattr(leaderboard, 'DATA', project / 'leaderboard.yml')
    benchmark_quickly(monkeypatch)
    leaderboard.main(None)
    page = (project / 'docs/leaderboard.md').read_text()
    assert '| Mine4 |' in page and '| Mine2 |' in page and '- Set5: its images are not under datasets/' in page


def test_files_of_a_repository_are_downloaded_once_and_checked(leaderboard: ModuleType, project: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def download(source: object, path: Path) -> None:
        taken.append(source)
        path.write_bytes(b'weights')
    monkeypatch.setattr(leaderboard, 'download', download)
    data = {'repositories': {'networks': {'address': 'someone/networks', 'commit': 'c0ffee0'}},
            'sums': {'networks': {'a/b.pth': hashlib.sha256(b'weights').hexdigest()}}}
    for _ in range(2):
        path = leaderboard._file('networks', 'a/b.pth', data, None)
    assert path.read_bytes() == b'weights'
    assert [source.url for source in taken] == ['https://github.com/someone/networks/raw/c0ffee0/a/b.pth']
    path.write_bytes(b'damaged')
    leaderboard._file('networks', 'a/b.pth', data, None)
    assert path.read_bytes() == b'weights'
