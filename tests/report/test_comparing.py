"""What a comparison has beside our own option files: third-party networks, images, published figures, several scales."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
import torch
import yaml

from tests.conftest import SMALL_NETWORK, Finished, photograph
from tests.forked import run_forked
from tests.report.conftest import write_options
from vapsr_arch.archs import NETWORKS
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.report import children, cost, network_test
from vapsr_arch.report.benchmark import Wishes, read_benchmarks
from vapsr_arch.report.image_row import ImageRow, find_images
from vapsr_arch.report.published import read_rows
from vapsr_arch.report.records import code_state
from vapsr_arch.report.row import Row

PLAIN = '''
from torch import nn
from factors import FACTOR

class Plain(nn.Module):
    def __init__(self, scale, feat=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, feat, 3, padding=1), nn.Conv2d(feat, 3 * scale**2, 3, padding=1),
                                    nn.PixelShuffle(scale))

    def forward(self, x):
        assert x.max() > 2, 'this network works in [0, 255]'
        return self.layers(x) * FACTOR
'''
REGISTERED = '''
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

@ARCH_REGISTRY.register()
class OnlyMultiplesOfSix(nn.Module):
    size_multiple = 6

    def __init__(self, upscale):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.upsample = nn.Upsample(scale_factor=upscale)

    def forward(self, x):
        assert x.shape[2] % 6 == x.shape[3] % 6 == 0
        return self.upsample(self.layer(x))
'''
MEASURE_MEMORY = cost.peak_memory
SWINIR = {'type': 'SwinIR', 'upscale': 2, 'img_size': 16, 'window_size': 8, 'depths': [1], 'embed_dim': 6, 'num_heads': [1],
          'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with two HR images and their LR images of x2 and x4; costs are those of small images.

    Tests of networks are forked. Memory is not measured, for that takes an interpreter each: it is what the function counts
    that the process would build with.
    """
    for index in range(2):
        hr = photograph(32, 48, index)
        for folder, image in (('HR', hr), ('LR', imresize(hr, 1 / 2)), ('LR4', imresize(hr, 1 / 4))):
            path = tmp_path / 'datasets/photos' / folder / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(network_test, 'run_child', run_forked)
    monkeypatch.setattr(cost, 'WARM_UP', 0)
    originals = {name: getattr(cost, name) for name in ('multi_adds', 'activations', 'latency')}
    monkeypatch.setattr(cost, 'multi_adds', lambda network, scale: originals['multi_adds'](network, scale, (36, 60)))
    monkeypatch.setattr(cost, 'activations', lambda network: originals['activations'](network, (20, 20)))
    monkeypatch.setattr(cost, 'latency', lambda network, device: originals['latency'](network, (20, 28), device, repeats=1))
    monkeypatch.setattr(cost, 'peak_memory', lambda network, device: cost.num_parameters(
        network if isinstance(network, torch.nn.Module) else network()))
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path


def _checkpoint(name: str, scale: int = 2) -> None:
    arguments = {key: value for key, value in SMALL_NETWORK.items() if key != 'type'} | {'scale': scale}
    torch.save({'params': NETWORKS['VapSR'](**arguments).state_dict()}, f'{name}.pth')


def _rows(out: str = 'out') -> dict[str, dict]:
    return {row['title']: row for row in json.loads(Path(out, 'results.json').read_text())['networks']}


def test_networks_of_others_keep_their_rows(place: Path, vapsr: Callable[..., Finished],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's class in [0, 255], a plugin's network that bears only multiples of six, BasicSR's own without weights.

    Each is tested and measured in an interpreter of its own, as for users.
    """
    monkeypatch.setattr(network_test, 'run_child', children.run_child)
    (place / 'nets').mkdir()
    (place / 'nets/plain.py').write_text(PLAIN)
    (place / 'nets/factors.py').write_text('FACTOR = 1.0\n')
    (place / 'six_networks.py').write_text(REGISTERED)
    (place / 'basicsr').mkdir()  # of another repository: it must not be taken for the installed one
    (place / 'basicsr/__init__.py').write_text('raise ImportError("the wrong BasicSR")')
    plain = {'type': 'nets/plain.py:Plain', 'scale': 2, 'img_range': 255}
    files = [write_options('plain', plain), write_options('six', {'type': 'OnlyMultiplesOfSix', 'upscale': 2}),
             write_options('swinir', SWINIR, path={})]
    from vapsr_arch.pipeline.networks import build_network
    from vapsr_arch.pipeline.plugins import load_plugins
    load_plugins(['six_networks'])
    torch.save(build_network(plain).state_dict(), 'plain.pth')
    torch.save(build_network({'type': 'OnlyMultiplesOfSix', 'upscale': 2}).state_dict(), 'six.pth')
    monkeypatch.setattr(cost, 'peak_memory', lambda network, device: MEASURE_MEMORY(network, (20, 28), device))
    result = vapsr('benchmark', *files, '-o', 'out', '--plugin', 'six_networks')
    assert result.code == 0, result.err
    rows = _rows()
    for name in ('plain', 'six', 'swinir'):
        assert not rows[name]['failures'], name
        for column in ('parameters', 'multi_adds', 'latency'):
            assert rows[name][column] > 0, (name, column)
        assert rows[name]['memory'] is not None, name  # of so small an image, it may be none
    assert rows['plain']['scores']['photos']['psnr'] > 0 and rows['six']['scores']['photos']['psnr'] > 0
    assert rows['swinir']['absent'] == {'photos': 'no checkpoint (path.pretrain_network_g is not set)'}
    assert '- swinir: photos: no checkpoint (path.pretrain_network_g is not set)' in Path('out/table.md').read_text()


def test_one_cost_that_fails_is_one_empty_cell(place: Path, vapsr: Callable[..., Finished],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: object) -> int:
        raise RuntimeError('this operator cannot be traced\nat all')

    monkeypatch.setattr(cost, 'activations', fail)
    result = vapsr('benchmark', write_options('VapSR', SMALL_NETWORK, path={}), '-o', 'out')
    assert (result.code, 'Error: VapSR: this operator cannot be traced\n' in result.err) == (1, True)
    row = _rows()['VapSR']
    assert row['failures'] == {'activations': 'this operator cannot be traced'} and row['activations'] is None
    assert row['multi_adds'] and row['latency'] and row['memory']
    assert '\n- VapSR: activations: this operator cannot be traced\n' in Path('out/table.md').read_text()
    monkeypatch.setattr(cost, 'activations', lambda network: 7)
    monkeypatch.setattr(cost, 'latency', fail)  # is kept
    assert vapsr('benchmark', 'VapSR.yml', '-o', 'out').code == 0
    assert _rows()['VapSR'] == row | {'activations': 7, 'failures': {}}


def test_a_model_of_others_that_writes_no_table_has_its_images_measured(place: Path, vapsr: Callable[..., Finished]) -> None:
    from vapsr_arch.pipeline.networks import build_network
    torch.save({'params': build_network(SWINIR).state_dict()}, 'swinir.pth')
    files = [write_options('swinir', SWINIR, model_type='SwinIRModel')]
    shutil.copy('swinir.pth', 'ours.pth')
    files.append(write_options('ours', SWINIR))
    result = vapsr('benchmark', *files, '-o', 'out', '--self-ensemble')
    assert result.code == 0, result.err
    assert 'swinir: no row swinir+, for its SwinIRModel knows no self-ensemble' in result.out
    rows = _rows()
    assert list(rows) == ['bicubic', 'swinir', 'ours', 'ours+']
    assert rows['swinir']['scores']['photos'].keys() == {'psnr', 'ssim'}
    assert rows['swinir']['scores']['photos']['psnr'] == pytest.approx(rows['ours']['scores']['photos']['psnr'], abs=0.05)
    assert rows['ours+']['scores'] != rows['ours']['scores']
    assert rows['ours+']['parameters'] == rows['ours']['parameters']
    assert rows['ours+']['multi_adds'] == 8 * rows['ours']['multi_adds']


def test_scales_have_a_table_each(place: Path, vapsr: Callable[..., Finished]) -> None:
    _checkpoint('x2')
    _checkpoint('x4', 4)
    lr = {'name': 'photos', 'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR',
          'dataroot_lq': 'datasets/photos/LR4', 'io_backend': {'type': 'disk'}}
    files = [write_options('x2', SMALL_NETWORK, name='Mine'),
             write_options('x4', SMALL_NETWORK | {'scale': 4}, name='Mine', scale=4, datasets={'test': lr})]
    result = vapsr('benchmark', *files, '-o', 'out', '--compare', '1', '--receptive-field')
    assert result.code == 0, result.err
    table = Path('out/table.md').read_text()
    two, four = table.index('# x2'), table.index('# x4')
    assert table.index('| Mine |') > two and table.index('| Mine |', four) > four
    with open('out/table.csv', newline='') as file:
        rows = [(row['network'], row['scale'], float(row['photos_psnr'])) for row in csv.DictReader(file)]
    assert [row[:2] for row in rows] == [('bicubic', '2'), ('Mine', '2'), ('bicubic', '4'), ('Mine', '4')]
    assert rows[0][2] > rows[2][2]
    for name in ('psnr_parameters', 'psnr_latency', 'compare_photos_1', 'receptive_fields'):
        assert Path(f'out/{name}_x2.png').is_file() and Path(f'out/{name}_x4.png').is_file(), name
    assert Path('out/table.tex').read_text().count(r'\begin{tabular}') == 2
    page = Path('out/index.html').read_text()
    assert '<h2>x2</h2>' in page and '"x4 photos: 1"' in page
    assert 'x2 and x4' in vapsr('benchmark', *files, '-o', 'out', '--set', 'own', 'datasets/photos/HR',
                                'datasets/photos/LR').err


def test_a_set_that_one_network_lacks_is_an_empty_cell_with_a_note(place: Path, vapsr: Callable[..., Finished]) -> None:
    shutil.copytree('datasets/photos', 'datasets/absent')
    sets = yaml.safe_load(Path(write_options('both', SMALL_NETWORK, path={})).read_text())['datasets']
    write_options('one', SMALL_NETWORK, path={}, datasets={'test': sets['test_1']})
    result = vapsr('benchmark', 'both.yml', 'one.yml', '-o', 'out')
    assert result.code == 0, result.err
    assert _rows()['one']['absent']['absent'] == 'one.yml does not have this set'
    assert '- one: absent: one.yml does not have this set' in Path('out/table.md').read_text()


def test_images_of_another_method_are_a_row(place: Path, vapsr: Callable[..., Finished]) -> None:
    Path('theirs').mkdir()
    for index in range(2):
        shutil.copy(f'datasets/photos/HR/{index}.png', f'theirs/{index}_x2_GAN.png')
    result = vapsr('benchmark', write_options('VapSR', SMALL_NETWORK, path={}), '-o', 'out', '--compare', '1',
                   '--row', 'GAN', 'theirs', '--row', 'Flat', 'datasets/photos/LR')
    assert result.code == 1
    rows = _rows()
    assert rows['GAN']['scores']['photos'] == {'psnr': float('inf'), 'ssim': 1.0} and rows['GAN']['parameters'] is None
    assert rows['Flat']['failures'] == {'photos': 'datasets/photos/LR/0.png is 24x16, the HR image 48x32'}
    page = Path('out/index.html').read_text()
    assert page.count('"title": "GAN"') == 2  # in the slider


@pytest.mark.parametrize('names, found', [
    (['1', '10', '2'], ['1', '10', '2']), (['1_s', '10_s', '2_s'], ['1_s', '10_s', '2_s']),
    (['1', '10', '2', '1_s', '10_s', '2_s'], ['1', '10', '2']), (['1_s', '2_s'], r'has no image 10_s: name the images'),
    (['7'], 'has no image 1 and 2 others'),
    (['1_a', '10_a', '2_a', '1_b', '10_b', '2_b'], r'several images of each HR image \(_a, _b'),
])
def test_images_are_found_by_the_hr_images_names(tmp_path: Path, names: list[str], found: list[str] | str) -> None:
    for name in names:
        (tmp_path / f'{name}.png').touch()
    if isinstance(found, list):
        assert [path.stem for path in find_images(tmp_path, ['1', '10', '2']).values()] == found
    else:
        with pytest.raises(VapsrError, match=found):
            find_images(tmp_path, ['1', '10', '2'])


def test_images_of_a_scale_and_of_a_set_lie_in_their_folders(tmp_path: Path) -> None:
    (tmp_path / 'x4').mkdir()
    assert ImageRow('a', tmp_path, 4).folder == tmp_path / 'x4'
    row = ImageRow('a', tmp_path, 2).run({'Set5': None, 'Set14': None}, {}, tmp_path)
    assert row.absent == {name: f'there is no folder {tmp_path / name}' for name in ('Set5', 'Set14')}
    with pytest.raises(VapsrError, match='--row a: there is no folder'):
        ImageRow('a', tmp_path / 'absent', 2)


@pytest.mark.parametrize('arguments, words', [
    (('--row', 'GAN'), '--row GAN: give a name and a folder'),
    (('--row', 'bicubic', 'datasets'), 'two rows are called bicubic'),
    (('--highlight', 'VapsR'), "--highlight VapsR: no row is called that; did you mean 'VapSR'?"),
    (('--published', 'figures.yml'), 'figures.yml: published.0.source: is required'),
])
def test_rows_that_cannot_be_are_refused(place: Path, vapsr: Callable[..., Finished], arguments: tuple[str, ...],
                                         words: str) -> None:
    Path('figures.yml').write_text('published: [{name: X, scale: 2}]')
    result = vapsr('benchmark', write_options('VapSR', SMALL_NETWORK, path={}), '-o', 'out', *arguments)
    assert (result.code, words in result.err) == (2, True), result.err


def test_published_figures_are_rows_that_say_so(tmp_path: Path) -> None:
    file = tmp_path / 'figures.yml'
    file.write_text('published:\n- {name: SwinIR, scale: 4, parameters: 897e3, multi_adds: 49.6e9, source: a paper, '
                    'sets: {Set5: [32.44, 0.8976], B100: {psnr: 27.69, lpips: 0.3}}}\n')
    assert read_rows(file) == [Row('SwinIR', 4, parameters=897000, multi_adds=49600000000, source='a paper', scores={
        'Set5': {'psnr': 32.44, 'ssim': 0.8976}, 'B100': {'psnr': 27.69, 'lpips': 0.3}})]
    assert read_rows(file)[0].label == 'SwinIR (published)'
    file.write_text('published: [{name: X, scale: 2, source: s, sorce: t, sets: {Set5: [high]}}]')
    with pytest.raises(OptionsError, match=r'published\.0: unknown keys sorce; known: name, scale, source'):
        read_rows(file)


def test_the_fingerprint_covers_the_code_of_plugins_and_the_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path('plain.py').write_text(PLAIN)
    Path('factors.py').write_text('FACTOR = 1.0\n')
    options = {'network_g': {'type': 'plain.py:Plain', 'scale': 2}, 'plugins': ['plain.py']}
    before = code_state(options)
    assert code_state(options) == before
    Path('factors.py').write_text('FACTOR = 2.0\n')  # what lies beside it counts, too
    after = code_state(options)
    assert {key for key in after if after[key] != before[key]} == {'network', 'plugin plain.py'}
    benchmark, = read_benchmarks([write_options('VapSR', SMALL_NETWORK, path={})], Path('out'))
    benchmark.run()
    monkeypatch.setattr(cost, 'latency', lambda *args, **kwargs: cost.Latency(123.0, 'CPU', 1))
    benchmark.run()
    assert benchmark.rows[1].latency != 123
    benchmark.machine['device'] = 'another CPU'
    benchmark.run()
    assert benchmark.rows[1].latency == 123
    monkeypatch.setattr(cost, 'latency', lambda *args, **kwargs: cost.Latency(456.0, 'CPU', 1))
    monkeypatch.setattr(network_test, 'cost_code', lambda: 'edited')
    benchmark.run()
    assert benchmark.rows[1].latency == 456


def test_a_network_that_spandrel_recognises_is_a_row(place: Path, vapsr: Callable[..., Finished]) -> None:
    span = pytest.importorskip('spandrel.architectures.SPAN')
    torch.manual_seed(0)
    torch.save(span.SPAN(num_in_ch=3, num_out_ch=3, upscale=2, feature_channels=8).state_dict(), 'span.pth')
    result = vapsr('benchmark', write_options('span', {'type': 'Spandrel'}), '-o', 'out')
    assert result.code == 0, result.err
    row = _rows()['span']
    assert row['scores']['photos']['psnr'] > 0 and row['multi_adds'] > 0 and row['memory'] > 0


def test_highlighted_names_are_bold(place: Path) -> None:
    benchmark, = read_benchmarks([write_options('VapSR', SMALL_NETWORK, path={})], Path('out'), Wishes(highlight=['VapSR']))
    assert benchmark.highlight == {'VapSR'}
