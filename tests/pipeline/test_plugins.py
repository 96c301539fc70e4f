"""Plugins: the package of docs/extending.md through the commands; what files of other repositories find; what fails."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import Finished
from tests.models import training_process
from vapsr_arch.data.packing import make_pack
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.pipeline.plugins import class_of, load_file, load_plugins

NETWORK = """
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

@ARCH_REGISTRY.register()
class {name}(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 1))
"""


def written(path: str | Path, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return str(path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_plugins: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The package of docs/extending.md.

def test_the_documented_package_trains_and_tests(plugin_package: Path, vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', 'train_mine.yml')
    assert result.code == 0, result.err
    assert f'plugin: importing mine.net_arch ({Path("mine").resolve()})' in result.err
    assert 'Model [MixingModel] is created' in result.err and 'Network SmallNet: ' in result.err
    log = next(line for line in result.err.splitlines() if 'iter 4/4' in line)
    assert all(f'{name} ' in log for name in ('l_pix', 'l_edge', 'share', 'grad_norm'))
    assert "INFO: datasets.train: not checked, being NoisyDataset's own: noise\n" in result.err
    assert result.err.count("not checked, being MixingModel's own: train.mixing\n") == 1
    assert '# mae: ' in result.err and Path('experiments/mine/models/net_g_best_mae.pth').is_file()

    options = yaml.safe_load(Path('train_mine.yml').read_text())
    for key in ('train', 'logger', 'plugins'):
        del options[key]
    options['datasets'] = {'test': options['datasets']['val']}
    options['path'] = {'pretrain_network_g': 'experiments/mine/models/net_g_latest.pth'}
    Path('test_mine.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    plugins = ['net_arch', 'mixing_model', 'mae_metric']
    result = vapsr('test', '-opt', 'test_mine.yml', *(word for name in plugins for word in ('--plugin', f'mine.{name}')))
    assert result.code == 0, result.err
    assert Path('results/mine/photos.csv').read_text().startswith('image,psnr,mae\n')


def test_a_subclass_of_the_model_resumes_exactly(plugin_package: Path, vapsr: Callable[..., Finished]) -> None:
    arguments = 'train', '-opt', 'train_mine.yml', '--force_yml', 'manual_seed=0'
    latest = Path('experiments/mine/models/net_g_latest.pth')
    assert vapsr(*arguments).code == 0
    undisturbed = latest.read_bytes()
    assert vapsr(*arguments, 'train:total_iter=2').code == 0
    assert latest.read_bytes() != undisturbed
    result = vapsr(*arguments, '--auto_resume')
    assert result.code == 0 and 'iter: 2' in result.err
    assert latest.read_bytes() == undisturbed


def test_the_documented_package_trains_in_two_processes(plugin_package: Path) -> None:
    processes = training_process.start_two('-opt', 'train_mine.yml')
    for process, log in processes:
        process.join()
        assert process.exitcode == 0, log.read_text()
    texts = [log.read_text() for _, log in processes]
    assert all('plugin: importing mine.mixing_model' in text for text in texts)
    assert sum(text.count('not checked, being') for text in texts) == 2
    assert Path('experiments/mine/models/net_g_4.pth').is_file()


def test_the_documented_script_runs_basicsrs_own_pipeline(plugin_package: Path) -> None:
    script = Path('train.py').read_text()
    Path('train.py').write_text(script + (
        '    from basicsr import train\n'
        '    from basicsr.utils.logger import MessageLogger\n'
        '    from basicsr.utils.options import parse_options\n'
        '    assert train.parse_options is parse_options and train.MessageLogger is MessageLogger\n'))
    result = subprocess.run([sys.executable, 'train.py', '-opt', 'train_mine.yml'], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'Model [MixingModel] is created' in result.stderr and 'share: ' in result.stderr
    assert torch.load('experiments/mine/models/net_g_latest.pth').keys() == {'params', 'params_ema'}


def test_a_class_of_a_file_trains_resumes_and_tests(plugin_package: Path, train_options: Callable[..., str],
                                                    test_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    network = {'type': 'my_net.py:MyNet', 'scale': 2, 'img_range': 255, 'size_multiple': 4}

    def changed(name: str) -> str:
        options = yaml.safe_load(Path(name).read_text()) | {'network_g': network}
        Path(name).write_text(yaml.safe_dump(options))
        return name

    options = changed(train_options(train={'total_iter': 2}, datasets={'train': {'num_worker_per_gpu': 1}}))
    result = vapsr('train', '-opt', options)
    assert result.code == 0, result.err
    assert result.err.count('plugin: importing my_net.py\n') == 1
    weights = torch.load('experiments/small/models/net_g_latest.pth')
    assert weights['params_ema'].keys() == {'0.weight', '0.bias', '2.weight', '2.bias'}
    result = vapsr('train', '-opt', options, '--auto_resume', '--force_yml', 'train:total_iter=3')
    assert result.code == 0 and 'MyNet: all tensors loaded' in result.err
    assert result.err.count(' -> ') == 1 and 'train.total_iter: 2 -> 3' in result.err  # nothing else has changed
    result = vapsr('test', '-opt', changed(test_options(path={
        'pretrain_network_g': 'experiments/small/models/net_g_latest.pth'})))
    assert result.code == 0 and '# psnr: ' in result.err


# What is said of names that are not there.

@pytest.mark.parametrize('changes, words', [
    ({'network_g': {'type': 'MyNet'}}, 'network_g.type: MyNet is not registered; did you mean'),
    ({'network_g': {'type': 'MyNet'}}, 'a network of your own comes by plugins: or as path/to/file.py:ClassName'),
    ({'network_g': {'type': 'my_net.py:MyNat'}}, "my_net.py has no class MyNat; did you mean 'MyNet'?"),
    ({'network_g': {'type': 'my_nat.py:MyNet'}}, 'plugin my_nat.py: there is no such file'),
    ({'network_g': {'type': '~nobody-of-that-name/n.py:MyNet'}}, 'plugin ~nobody-of-that-name/n.py: there is no such file'),
    ({'network_g': {'type': 'my_net.py:MyNet', 'num_block': None, 'd_atten': None, 'num_faet': 3}},
     "network_g.num_faet: unknown key; did you mean 'num_feat'?"),
    ({'plugins': ['mine.nothing']}, 'plugin mine.nothing cannot be imported: there is no mine.nothing'),
    ({'plugins': ['mein']}, 'plugin mein: there is no such module, neither installed nor in '),
    ({'plugin': ['mine']}, "plugin: unknown key; did you mean 'plugins'?"),
    ({'plugins': ['mine.mixing_model'], 'model_type': 'MixinModel'}, "MixinModel is not registered; did you mean 'MixingModel'?"),
    ({'plugins': ['mine.mixing_model'], 'model_type': 'MixingModel', 'train': {'grad_clip_nrm': 3}},
     "train.grad_clip_nrm: unknown key; did you mean 'grad_clip_norm'?"),
    ({'plugins': ['mine.noisy_dataset'], 'datasets': {'train': {'type': 'NosyDataset'}}},
     "datasets.train.type: NosyDataset is not registered; did you mean 'NoisyDataset'?"),
    ({'plugins': ['mine.noisy_dataset'], 'datasets': {'train': {'type': 'NoisyDataset', 'use_hflip': None, 'use_hflp': True}}},
     "datasets.train.use_hflp: unknown key; did you mean 'use_hflip'?"),
    ({'plugins': ['mine.noisy_dataset'], 'datasets': {'train': {'type': 'NoisyDataset', 'use_rot': 'yes'}}},
     'datasets.train.use_rot: '),
    ({'plugins': ['mine.noisy_dataset'], 'datasets': {'train': {'type': 'NoisyDataset', 'gt_size': 15}}},
     'datasets.train.gt_size: 15 is not a multiple of the scale 2'),
    ({'plugins': ['mine.noisy_dataset'], 'datasets': {'train': {'type': 'NoisyDataset', 'dataroot_lq': ['a', 'b']}}},
     'datasets.train.dataroot_lq: a list is for PairedPackDataset, which takes packs: give one path'),
    ({'datasets': {'train': {'type': 'CheckedPairedImageDataset', 'gt_sise': 1}}},
     "datasets.train.gt_sise: unknown key; did you mean 'gt_size'?"),
    ({'plugins': ['mine.edge_loss'], 'train': {'edge_opt': {'type': 'EdgeLoss', 'weight': 1}}},
     "train.edge_opt.weight: unknown key; did you mean 'loss_weight'?"),
    ({'plugins': ['mine.mae_metric'], 'val': {'metrics': {'mae': {'type': 'calculate_mae'}}}},
     'val.metrics.mae.crop_border: is required'),
])
def test_names_that_are_not_there(changes: dict, words: str, plugin_package: Path, train_options: Callable[..., str],
                                  vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(**changes))
    assert result.code in (1, 2) and words in result.err and 'Traceback' not in result.err
    assert not Path('experiments').exists()


def test_a_class_derived_from_packs_takes_a_list_for_training(train_options: Callable[..., str], own_plugins: None,
                                                              vapsr: Callable[..., Finished]) -> None:
    Path('packs.py').write_text('from basicsr.utils.registry import DATASET_REGISTRY\n'
                                'from vapsr_arch.data.paired_pack_dataset import PairedPackDataset\n'
                                '@DATASET_REGISTRY.register()\nclass MyPacks(PairedPackDataset):\n    pass\n')
    for folder in ('HR', 'LR'):
        make_pack([Path('datasets/photos', folder)], Path(f'{folder}.pack'), workers=1)
    packs = {'type': 'MyPacks', 'io_backend': None, 'dataroot_gt': 'HR.pack', 'dataroot_lq': ['LR.pack', 'LR.pack']}
    result = vapsr('train', '-opt', train_options(plugins=['packs.py'], datasets={'train': packs}))
    assert result.code == 0 and 'photos: 4 pairs of HR.pack and one of LR.pack, LR.pack\n' in result.err, result.err
    result = vapsr('train', '-opt', train_options(plugins=['packs.py'], datasets={'val': packs}))
    assert result.code == 2 and 'datasets.val.dataroot_lq: a list of packs is for training: name one pack\n' in result.err


# What fails to import.

@pytest.mark.parametrize('text, words', [
    ('import thop', 'bad.py, line 1: it needs thop, which is not installed: `pip install thop`'),
    ('\nimport mamba_ssm.ops', 'bad.py, line 2: it needs mamba_ssm, which is not installed: `pip install mamba-ssm`'),
    ('x = 1\nclass A:\nb', 'bad.py, line 3: IndentationError: '),
    ('\n\n1 / 0', 'bad.py, line 3: ZeroDivisionError: division by zero'),
    ('import sys\nsys.exit("no arguments")', 'bad.py, line 2: SystemExit: no arguments'),
    ('from basicsr.archs.arch_util import Novelty', 'bad.py, line 1: cannot import name \'Novelty\' from '
     '\'basicsr.archs.arch_util\': BasicSR 1.4.2 does not have it, the repository has changed its own'),
    ('import basicsr.archs.novelty', 'bad.py, line 1: it needs basicsr.archs.novelty, which neither BasicSR 1.4.2 has nor'),
    ('open("weights.pth")', "bad.py, line 1: FileNotFoundError: [Errno 2] No such file or directory: 'weights.pth'"),
])
def test_a_file_that_cannot_be_imported(text: str, words: str, here: Path) -> None:
    written('bad.py', text)
    with pytest.raises(VapsrError) as error:
        load_plugins(['bad.py'])
    assert str(error.value).startswith('plugin bad.py cannot be imported: ') and words in str(error.value)
    assert '\n' not in str(error.value)


def test_a_module_that_cannot_be_imported(here: Path) -> None:
    written('broken/inner.py', 'import timm_of_another_world')
    with pytest.raises(VapsrError, match=r'plugin broken.inner cannot be imported: .*inner.py, line 1: it needs timm_of_another'):
        load_plugins(['broken.inner'])


def test_a_name_that_is_registered_twice(here: Path) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY
    load_plugins([written('a/net.py', NETWORK.format(name='Twice'))])
    with pytest.raises(VapsrError) as error:
        load_plugins([written('b/net.py', NETWORK.format(name='Twice'))])
    line = 5 if sys.version_info >= (3, 11) else 6  # that of the decorator, and of the class
    assert str(error.value).endswith(
        f'b/net.py, line {line}: Twice is registered already, by {here / "a/net.py"}: rename one of the two, leave one out, or '
        f'name the network as b/net.py:Twice')
    with pytest.raises(VapsrError, match=r'RFDN is registered already, by .*rfdn_arch.py'):
        load_plugins([written('c/net.py', NETWORK.format(name='RFDN'))])
    first = ARCH_REGISTRY.get('Twice')
    assert class_of('b/net.py:Twice') is not first and ARCH_REGISTRY.get('Twice') is first


# What files of other repositories find.

def repository(name: str, scale: int) -> str:
    """A repository that carries a whole BasicSR, with a helper that pip's lacks; returns the file of its network."""
    written(f'{name}/setup.py', '')
    written(f'{name}/basicsr/__init__.py', 'raise RuntimeError("not this one")')
    written(f'{name}/basicsr/archs/arch_util.py', 'raise RuntimeError("nor this one")')
    written(f'{name}/basicsr/archs/some_helper.py', f'SCALE = {scale}')
    written(f'{name}/basicsr/extra/more.py', f'SCALE = {scale}')
    return written(f'{name}/basicsr/archs/{name}_arch.py', f"""
import basicsr.archs.some_helper
import basicsr.extra.more
from basicsr.archs import some_helper
from basicsr.archs.arch_util import default_init_weights
from basicsr.utils.registry import ARCH_REGISTRY
from torchvision import ops
from .some_helper import SCALE

@ARCH_REGISTRY.register()
class {name}:
    scales = SCALE, some_helper.SCALE, basicsr.archs.some_helper.SCALE, basicsr.extra.more.SCALE
    operators = ops
""")


def test_repositories_that_carry_a_whole_basicsr(here: Path) -> None:
    import basicsr.archs
    paths = {name: list(package.__path__) for name, package in (('basicsr', basicsr), ('archs', basicsr.archs))}
    load_plugins([repository('one', 1), repository('two', 2)])
    from basicsr.utils.registry import ARCH_REGISTRY
    assert ARCH_REGISTRY.get('one').scales == (1, 1, 1, 1) and ARCH_REGISTRY.get('two').scales == (2, 2, 2, 2)
    assert paths == {'basicsr': basicsr.__path__, 'archs': basicsr.archs.__path__}
    written('one/basicsr/archs/third_arch.py', 'import basicsr.archs.some_helper as helper\n'
                                               'from basicsr.archs.one_arch import one')
    third = load_file('one/basicsr/archs/third_arch.py')  # the first again, and its file is not imported a second time
    assert third.helper.SCALE == 1 and third.one is ARCH_REGISTRY.get('one')
    load_plugins(['two/basicsr/archs/two_arch.py', 'one/basicsr/archs/one_arch.py'])
    changed = class_of(written('one/basicsr/archs/edsr_arch.py', NETWORK.format(name='EDSR')) + ':EDSR')
    assert changed is not ARCH_REGISTRY.get('EDSR') and ARCH_REGISTRY.get('EDSR').__module__ == 'basicsr.archs.edsr_arch'


def plain(name: str, value: int) -> str:
    """A plain torch repository, with modules named as many are, and one that a constructor imports; returns a file of it."""
    written(f'{name}/README.md', '')
    written(f'{name}/utils/__init__.py', '')
    written(f'{name}/utils/numbers_.py', f'VALUE = {value}')
    written(f'{name}/models/common.py', f'VALUE = {value}')
    written(f'{name}/models/late.py', f'VALUE = {value}')
    return written(f'{name}/models/net.py', """
import common
from models.common import VALUE
from utils.numbers_ import VALUE as OTHER

class Net:
    values = common.VALUE, VALUE, OTHER
    def __init__(self):
        from models import late
        self.late = late.VALUE
""")


def test_plain_repositories_with_modules_of_the_same_names(here: Path) -> None:
    from vapsr_arch.pipeline.plugins import beside_class
    path = list(sys.path)
    names = [f'{plain(name, value)}:Net' for name, value in (('one', 1), ('two', 2))]
    classes = [class_of(name) for name in names]
    assert [one.values for one in classes] == [(1, 1, 1), (2, 2, 2)]
    for value, name, one in zip((1, 2), names, classes):
        with beside_class(name):
            assert one().late == value
    assert sys.path == path


@pytest.mark.parametrize('init, text', [
    ('', 'from .common import VALUE\nfrom ..shared import OTHER'),
    ('from .net import Net', 'from code_.models.common import VALUE\nfrom code_.shared import OTHER')])
def test_a_file_that_imports_from_its_own_package(init: str, text: str, here: Path) -> None:
    for folder in ('code_', 'code_/models'):
        written(f'{folder}/__init__.py', init if folder.endswith('models') else '')
    written('code_/models/common.py', 'VALUE = 3')
    written('code_/shared.py', 'OTHER = 4')
    net = load_file(written('code_/models/net.py', f'{text}\nclass Net: values = VALUE, OTHER'))
    assert net.Net.values == (3, 4)
    assert load_file('code_/models/net.py') is net


def test_folders_without_a_sign_of_a_repository(here: Path) -> None:
    for name, value in (('one', 1), ('two', 2)):
        written(f'{name}/helper.py', f'VALUE = {value}')
        written(f'{name}/my.net-1.py', 'import helper\nVALUE = helper.VALUE')
    assert [load_file(f'{name}/my.net-1.py').VALUE for name in ('one', 'two')] == [1, 2]


def test_a_module_that_was_imported_is_not_imported_again_as_a_file(here: Path) -> None:
    written('own/net.py', NETWORK.format(name='OnlyOnce'))
    load_plugins(['own.net', 'own/net.py', 'own.net'])
    assert load_file('own/net.py') is sys.modules['own.net']


def test_nothing_is_imported_unsaid(here: Path, capfd: pytest.CaptureFixture) -> None:
    written('loud.py', 'print("imported")')
    load_plugins(['loud.py', 'loud.py'])
    assert capfd.readouterr() == ('imported\n', 'plugin: importing loud.py\n')


# Installed packages.

def installed(folder: Path, text: str) -> None:
    written(folder / 'theirs.py', text)
    written(folder / 'theirs-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: theirs-package\nVersion: 1.0\n')
    written(folder / 'theirs-1.0.dist-info/entry_points.txt', '[vapsr_arch.plugins]\ntheirs = theirs\n')


def test_an_installed_package(workspace: Path, own_plugins: None, monkeypatch: pytest.MonkeyPatch,
                              train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    installed(workspace / 'site', NETWORK.format(name='Theirs'))
    monkeypatch.syspath_prepend(workspace / 'site')
    options = yaml.safe_load(Path(train_options()).read_text()) | {'network_g': {'type': 'Theirs'}}
    Path('train.yml').write_text(yaml.safe_dump(options))
    result = vapsr('train', '-opt', 'train.yml')
    assert result.code == 0, result.err
    assert result.err.count('plugin: importing theirs, of the installed package theirs-package\n') == 1


def test_an_installed_package_that_fails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(here / 'site', 'import thop')
    monkeypatch.syspath_prepend(here / 'site')
    with pytest.raises(VapsrError, match=r'plugin theirs of the installed package theirs-package cannot be imported: .*it needs'):
        load_plugins([])


@pytest.mark.parametrize('file', ['gone/net.py', '~nobody-of-that-name/net.py'])
def test_a_missing_file(file: str, here: Path) -> None:
    with pytest.raises(OptionsError, match=f'plugin {file}: there is no such file'):
        load_plugins([file])
