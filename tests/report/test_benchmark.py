"""`vapsr benchmark`: what it measures, keeps, refuses and writes."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import yaml

from tests.conftest import SMALL_NETWORK, Finished
from tests.report.conftest import SMALL, Benchmarked, write_options
from vapsr_arch.archs import NETWORKS
from vapsr_arch.data.matlab_resize import imresize
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.report import cost
from vapsr_arch.report.benchmark import OwnSet, Wishes, read_benchmarks
from vapsr_arch.report.machine import counted
from vapsr_arch.report.published import published
from vapsr_arch.report.records import Record
from vapsr_arch.report.report import find_images


def _results(folder: Benchmarked) -> list[dict]:
    return json.loads((folder.out / 'results.json').read_text())['networks']


def test_one_network_that_fails_leaves_the_others_and_exit_code_1(benchmarked: Benchmarked) -> None:
    bicubic, vapsr, imdn, broken = _results(benchmarked)
    assert benchmarked.code == 1
    assert [bicubic['title'], vapsr['title'], imdn['title'], broken['title']] == ['bicubic', 'VapSR', 'IMDN', 'broken']
    assert broken['failures'] == {'photos': 'there is no checkpoint broken.pth'}
    assert not bicubic['failures'] and not vapsr['failures'] and not imdn['failures']
    assert '\n- broken: photos: there is no checkpoint broken.pth\n' in (benchmarked.out / 'table.md').read_text()


def test_a_checkpoint_that_is_not_there_is_named_before_anything_is_measured(benchmarked: Benchmarked) -> None:
    line = 'broken: there is no checkpoint broken.pth; what it costs is measured all the same\n'
    assert line in benchmarked.err and 'bicubic' not in benchmarked.err.partition(line)[0]


def test_a_network_without_scores_keeps_its_costs(benchmarked: Benchmarked) -> None:
    _, vapsr, _, broken = _results(benchmarked)
    for name in ('parameters', 'multi_adds', 'activations'):
        assert broken[name] == vapsr[name] > 0
    assert broken['latency'] > 0 and broken['memory'] > 0 and not broken['scores']


def test_scores_are_those_of_basicsrs_test_loop(benchmarked: Benchmarked) -> None:
    _, vapsr, *_ = _results(benchmarked)
    with open(benchmarked.out / 'results/test_VapSR_x2/photos.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert vapsr['images']['photos'] == {row['image']: {'psnr': float(row['psnr']), 'ssim': float(row['ssim'])} for row in rows}
    assert vapsr['scores']['photos']['psnr'] == pytest.approx(sum(float(row['psnr']) for row in rows) / 5)


def test_bicubic_is_matlabs(benchmarked: Benchmarked) -> None:
    from basicsr.metrics import calculate_psnr
    bicubic = _results(benchmarked)[0]
    lr, hr = (cv2.imread(str(benchmarked.folder / f'datasets/photos/{kind}/3.png')) for kind in ('LR', 'HR'))
    assert bicubic['images']['photos']['3']['psnr'] == calculate_psnr(imresize(lr, 2), hr, 2, test_y_channel=True)


def test_costs_are_measured(benchmarked: Benchmarked) -> None:
    for run in _results(benchmarked)[1:3]:
        arguments = {key: value for key, value in SMALL[run['title']].items() if key != 'type'}
        network = NETWORKS[run['title']](**arguments)
        assert run['parameters'] == sum(parameter.numel() for parameter in network.parameters())
        assert run['multi_adds'] > 640 * 360 * run['parameters'] * 0.5
        assert run['activations'] > 0 and run['latency'] > 0
        assert len(run['weights']['sha256']) == 64


def test_results_name_the_machine_the_versions_and_the_options(benchmarked: Benchmarked) -> None:
    results = json.loads((benchmarked.out / 'results.json').read_text())
    assert {'device', 'instructions', 'threads', 'torch', 'basicsr', 'python'} <= set(results['machine'])
    assert results['options']['VapSR.yml']['network_g'] == SMALL_NETWORK


def test_the_csv_has_a_row_a_network_in_full_precision(benchmarked: Benchmarked) -> None:
    with open(benchmarked.out / 'table.csv', newline='') as file:
        rows = {row['network']: row for row in csv.DictReader(file)}
    run = _results(benchmarked)[2]
    assert float(rows['IMDN']['photos_psnr']) == run['scores']['photos']['psnr']
    assert int(rows['IMDN']['parameters']) == run['parameters']
    assert rows['broken']['notes'] == 'photos: there is no checkpoint broken.pth' and not rows['broken']['photos_psnr']


def test_the_plots_and_the_strip_are_images(benchmarked: Benchmarked) -> None:
    for name in ('psnr_parameters.png', 'psnr_latency.png', 'compare_photos_2.png', 'receptive_fields.png'):
        height, width = cv2.imread(str(benchmarked.out / name)).shape[:2]
        assert 150 < height < 1500 and 150 < width < 1500, name
    for name in ('psnr_parameters', 'psnr_latency'):
        text = (benchmarked.out / f'{name}.svg').read_text()
        assert '>VapSR</text>' in text and '>IMDN</text>' in text
        assert (benchmarked.out / f'{name}.pdf').read_bytes().startswith(b'%PDF')


def test_what_is_unchanged_is_not_run_again(benchmarked: Benchmarked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, 'peak_memory', lambda network, device: 1)

    def written(name: str) -> list[int]:
        return [(benchmarked.out / path).stat().st_mtime_ns for path in (
            f'results/test_{name}_x2/photos.csv', f'networks/test_{name}_x2.scores.json', f'networks/test_{name}_x2.cost.json')]

    shutil.copy('IMDN.pth', 'IMDN-2.pth')
    write_options('IMDN-2', SMALL['IMDN'])
    benchmark, = read_benchmarks(['VapSR.yml', 'IMDN.yml', 'IMDN-2.yml'], benchmarked.out)
    vapsr, imdn = written('VapSR'), written('IMDN')
    benchmarked.out.joinpath('results/test_VapSR_x2/visualization/photos/4_test_VapSR_x2.png').unlink()
    benchmark.run()
    assert written('IMDN') == imdn
    assert [new > old for new, old in zip(written('VapSR'), vapsr)] == [True, True, False]  # an image was missing
    assert [row.title for row in benchmark.rows if row.scores] == ['bicubic', 'VapSR', 'IMDN', 'IMDN-2']
    assert benchmark.rows[2].scores == benchmark.rows[3].scores


def test_what_is_kept_is_measured_again_when_anything_changes(tmp_path: Path) -> None:
    values = iter(range(10))
    path = tmp_path / 'networks/a.json'

    def measure() -> dict[str, int]:
        return {'value': next(values)}

    for weights, value in (('a', 0), ('a', 0), ('b', 1), ('a', 2)):
        assert Record(path, {'weights': weights, 'sizes': (1, 2)}).take('latency', measure) == {'value': value}
    for damaged in ('{"fingerprint": ', '[]', '{"fingerprint": {"weights": "a", "sizes": [1, 2]}, "measured": 3}'):
        path.write_text(damaged)
        assert Record(path, {'weights': 'a', 'sizes': (1, 2)}).take('latency', measure)['value'] > 2


def test_a_set_that_is_not_there_is_skipped_with_a_message(benchmarked: Benchmarked, capfd: pytest.CaptureFixture) -> None:
    benchmark, = read_benchmarks(['VapSR.yml'], benchmarked.out)
    assert list(benchmark.sets) == ['photos']
    assert 'absent is left out: there is no datasets/absent/HR' in capfd.readouterr().out


def test_a_set_of_ones_own_takes_the_place_of_the_option_files(benchmarked: Benchmarked, capfd: pytest.CaptureFixture) -> None:
    folder = Path('datasets/photos')
    benchmark, = read_benchmarks(['VapSR.yml'], benchmarked.out, Wishes(own_set=OwnSet('mine', folder / 'HR', folder / 'LR')))
    assert list(benchmark.sets) == ['mine'] and benchmark.sets['mine'].names == ['0', '1', '2', '3', '4']
    assert not capfd.readouterr().out
    with pytest.raises(VapsrError, match=r'^--set mine: there is no absent$'):
        read_benchmarks(['VapSR.yml'], benchmarked.out, Wishes(own_set=OwnSet('mine', folder / 'HR', Path('absent'))))


def test_the_table_says_on_what_and_how_it_was_measured(benchmarked: Benchmarked) -> None:
    table = (benchmarked.out / 'table.md').read_text()
    machine = json.loads((benchmarked.out / 'results.json').read_text())['machine']
    assert f', {counted(machine["threads"], "thread")}; torch ' in table
    assert 'Sets: psnr (crop_border 2, test_y_channel True) / ssim (crop_border 2, test_y_channel True).' in table
    assert (counted(1, 'thread'), counted(2, 'thread')) == ('1 thread', '2 threads')


@pytest.mark.parametrize('name, changes, words', [
    ('other', {'name': 'test_VapSR_x2'}, 'VapSR.yml and other.yml are both called VapSR: give one another name'),
    ('other', {'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}},
     'VapSR.yml and other.yml measure differently (val.metrics): their figures could not be compared'),
    ('other', {'datasets': {'test': {'name': 'photos', 'type': 'PairedImageDataset', 'dataroot_gt': 'datasets/photos/HR',
                                     'dataroot_lq': 'datasets/photos/HR', 'io_backend': {'type': 'disk'}}}},
     'VapSR.yml and other.yml name different images photos: give one set another name'),
])
def test_what_cannot_stand_in_one_table_is_refused(benchmarked: Benchmarked, vapsr: Callable[..., Finished], name: str,
                                                   changes: dict, words: str) -> None:
    network = changes.pop('network_g', SMALL_NETWORK)
    option_file = write_options(name, network)
    options = yaml.safe_load(Path(option_file).read_text()) | changes
    Path(option_file).write_text(yaml.safe_dump(options))
    result = vapsr('benchmark', 'VapSR.yml', option_file, '-o', 'refused')
    assert (result.code, words in result.err) == (2, True), result.err
    assert not Path('refused').exists()


def test_without_one_set_it_says_how_to_get_them(workspace: Path, vapsr: Callable[..., Finished]) -> None:
    option_file = write_options('VapSR', SMALL_NETWORK)
    shutil.rmtree('datasets')
    result = vapsr('benchmark', option_file, '-o', 'out')
    assert result.code == 1
    assert 'not one set of the option files is there' in result.err and 'vapsr data fetch' in result.err


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, vapsr: Callable[..., Finished]) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    result = vapsr('benchmark', 'VapSR.yml', '-o', 'out')
    assert result.code == 1
    assert 'vapsr benchmark needs matplotlib: install this package with the extra [benchmark]' in result.err


def test_a_gpu_that_is_not_there_is_one_sentence(benchmarked: Benchmarked, monkeypatch: pytest.MonkeyPatch,
                                                 vapsr: Callable[..., Finished]) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    result = vapsr('benchmark', 'VapSR.yml', '-o', 'out', '--device', 'cuda')
    assert (result.code, result.err) == (1, 'Error: --device cuda: torch finds no CUDA GPU here\n')


def test_images_are_found_by_name(benchmarked: Benchmarked) -> None:
    benchmarks = read_benchmarks(['VapSR.yml'], benchmarked.out)
    assert find_images(benchmarks, '3') == find_images(benchmarks, 'photos/3') == [(benchmarks[0], 'photos', '3')]
    with pytest.raises(OptionsError, match='--compare photos/33: no test image is called that; did you mean'):
        find_images(benchmarks, 'photos/33')


@pytest.mark.parametrize('arguments, words', [
    (('--crop', '0', '0', '8', '8'), 'give --compare IMAGE once'),
    (('--compare', '1', '--crop', '90', '0', '8', '8'), '--crop 90 0 8 8 is not within photos/1, which is 96x64'),
])
def test_a_crop_is_of_one_image_and_within_it(benchmarked: Benchmarked, vapsr: Callable[..., Finished],
                                              arguments: tuple[str, ...], words: str) -> None:
    result = vapsr('benchmark', 'VapSR.yml', '-o', 'refused', *arguments)
    assert (result.code, words in result.err) == (2, True), result.err
    assert not Path('refused').exists()


def test_published_figures_are_of_exactly_that_network() -> None:
    assert published('vapsr', 4, 342220)['sets']['Set5'] == [32.38, 0.8978]
    assert published('VapSR', 4, 342221) is None
    assert published('IMDN', 2, 715176) is None
