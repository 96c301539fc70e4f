"""Option files: the project's and the authors' pass; every fault is named by file and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY, Finished
from vapsr_arch.errors import OptionsError
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.yaml_files import read_yaml
from vapsr_arch.pipeline.checks import check_types, model_class
from vapsr_arch.pipeline.networks import build_network

FILES = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / 'options').rglob('*.yml'))

# The keys of the authors' option files, which use BasicSR's model, `!!float`, empty values and a model name of their own.
AUTHORS = '''
name: vapsr
model_type: SRModel
scale: 4
num_gpu: 2
manual_seed: 10
datasets:
  {phase}:
    name: DF2K
    type: PairedImageDataset
    dataroot_gt: hr.lmdb
    dataroot_lq: lr.lmdb
    io_backend: {{type: lmdb}}
    gt_size: 192
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 32
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  {other}:
    name: Set5
    type: PairedImageDataset
    dataroot_gt: Set5/HR
    dataroot_lq: Set5/LR
    io_backend: {{type: disk}}
network_g: {{type: vapsr, num_in_ch: 3, num_feat: 32, d_atten: 64, num_block: 11, num_out_ch: 3, conv_groups: 2, scale: 4}}
path: {{pretrain_network_g: ~, strict_load_g: true, resume_state: ~, param_key_g: params_ema}}
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: !!float 1e-3, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [1000000], gamma: 0.5}}
  total_iter: 1000000
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
val:
  val_freq: !!float 5e3
  save_img: false
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 4, test_y_channel: false}}
    ssim: {{type: calculate_ssim, crop_border: 4, test_y_channel: false}}
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {{project: ~, resume_id: ~, entity: ~}}
dist_params: {{backend: nccl, port: 29500}}
'''


@pytest.mark.parametrize('path', FILES, ids=str)
def test_files_of_the_project_pass(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    options = load_options(path, is_train='train' in path.name)
    check_types(path, options)
    model_class(options['model_type'])
    for key in [key for key in options if key.startswith('network_')]:
        assert any(parameter.requires_grad for parameter in build_network(options[key]).parameters())


@pytest.mark.parametrize('is_train, phase, other', [(True, 'train', 'val'), (False, 'test_1', 'test_2')])
def test_files_of_the_authors_pass(is_train: bool, phase: str, other: str, tmp_path: Path) -> None:
    path = tmp_path / 'authors.yml'
    path.write_text(AUTHORS.format(phase=phase, other=other))
    options = load_options(path, is_train)
    check_types(path, options)
    assert options['train']['optim_g']['lr'] == 1e-3
    assert options['val']['val_freq'] == 5000 and isinstance(options['val']['val_freq'], int)
    assert 'pretrain_network_g' not in options['path']


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / 'a.yml'
    path.write_text('a: 1e-3\nb: -2E+5\nc: 1e\nd: !!float 1e-3\ne: "1e-3"\n')
    assert read_yaml(path) == {'a': 1e-3, 'b': -2e5, 'c': '1e', 'd': 1e-3, 'e': '1e-3'}


@pytest.mark.parametrize('text, words', [
    ('a: !!python/object/apply:os.system ["touch pwned"]', 'line 1: could not determine a constructor for the tag'),
    ('a: 1\nb: [1', "line 2: expected ',' or ']'"),
    ('a: 1\nb: 2\na: 3', "line 3: the key 'a' is given twice"),
    ('- a', 'an option file is a mapping of keys'),
    ('a: 1\n? [a]\n: 2', 'line 2: a key is text, not a list or a section'),
    ('a: ' + '{' * 1500, 'line 1: sections within sections, more than 30 deep'),
    ('a:\n  b: !!int x', "line 2: 'x' is not a whole number"),
    ('a: !!float x', "line 1: 'x' is not a number"),
    ('a: 2001-02-30', "line 1: '2001-02-30' is read as a date: put it in quotes"),
    ('a: !!bool maybe', "line 1: 'maybe' is not true or false"),
    ('a: ' + '9' * 5000, 'is not a whole number'),
    ('a: 0x' + 'f' * 5000, 'is too large a number'),
    ('a: !!set {b, c}', "line 1: could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
    ('a: !!binary zzz=', "line 1: could not determine a constructor for the tag 'tag:yaml.org,2002:binary'"),
    ('a: !!map [b]', 'line 1: what is tagged as a section is none'),
    ('b: 1\na: &a [*a]', 'line 2: the alias *a lies within what it stands for'),
    ('a: [' + '1, ' * 20_000 + ']', 'line 1: more than 10,000 values'),
    ('a:\n\tb: 1', "line 2: found character '\\t' that cannot start any token: indent with spaces, not tabs"),
    ('a: 1\nb: \0', 'line 2: the character U+0000 is not allowed'),
    ('a: "\\0"', "line 1: '\\x00' has characters that no text may have"),
    ('a: "\\ud800"', 'line 1:'),
    ('b: 1\na: "\\U00110000"', 'line 2: an escape sequence stands for no character'),
    ('no: 1', "line 1: the key 'no' is read as true or false: a key is text; put it in quotes"),
    ('a: 1\n<<: {b: 1}', 'line 2: << merges sections, which is not read: write the keys out'),
    ('a: 1\n---\na: 1', 'line 2: expected a single document in the stream but found another document'),
    ('a: &n 1\nb: &n 2', "line 2: found duplicate anchor 'n'"),
])
def test_bad_yaml_is_refused(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'bad.yml'
    path.write_text(text)
    with pytest.raises(OptionsError) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)
    assert not Path('pwned').exists()


BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{number}: &a{number} [{", ".join([f"*a{number - 1}"] * 9)}]\n' for number in range(1, 10))


def test_what_aliases_blow_up_is_refused(tmp_path: Path, train_options: Callable[..., str]) -> None:
    path = tmp_path / 'bad.yml'
    path.write_text(BOMB)
    with pytest.raises(OptionsError, match=r'bad.yml: line 4: more than 10,000 values, those that aliases repeat included$'):
        load_options(path, True)
    nested = ''.join(f'- &a{number} [*a{number - 1}]\n' for number in range(1, 40))
    with pytest.raises(OptionsError, match='sections within sections, more than 30 deep'):
        path.write_text(f'a:\n- &a0 x\n{nested}')
        load_options(path, True)
    path.write_text('a: &a [1, 2]\nb: *a')
    assert read_yaml(path) == {'a': [1, 2], 'b': [1, 2]}


@pytest.mark.parametrize('data, words', [
    (b'a: 1\nb: \xff', 'line 2: the option file cannot be read: it is not UTF-8 text'),
    ('a: 1'.encode('utf-16'), 'line 1: the option file cannot be read: it is not UTF-8 text'),
    (b'a: ' + b'x' * 2_000_000, 'it has more than 1 MB: an option file is a page of text')])
def test_files_that_are_no_text(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / 'bad.yml'
    path.write_bytes(data)
    with pytest.raises(OptionsError) as error:
        read_yaml(path)
    assert str(error.value) == f'{path}: {words}'


def test_a_folder_and_a_byte_order_mark(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match='the option file cannot be read: Is a directory'):
        read_yaml(tmp_path)
    (tmp_path / 'a.yml').write_text('\ufeffa: 1\r\n', encoding='utf-8')
    assert read_yaml(tmp_path / 'a.yml') == {'a': 1}


@pytest.mark.parametrize('name', ['..', '.', '', '/tmp/x', '../../x', 'a\nb', 'a\\b', 'x' * 300])
@pytest.mark.parametrize('key', ['name', 'datasets.val.name', 'val.suffix', 'val.metrics'])
def test_names_are_names(key: str, name: str, train_options: Callable[..., str]) -> None:
    changes = {'name': {'name': name}, 'datasets.val.name': {'datasets': {'val': {'name': name}}},
               'val.suffix': {'val': {'suffix': name}}, 'val.metrics': {'val': {'metrics': {name: {'type': 'calculate_psnr'}}}}}
    words = f'{key}.*: must (be a name: without / and|have at most (100|200) bytes, for files are named by it)'
    with pytest.raises(OptionsError, match=words):
        load_options(train_options(**changes[key]), True)


@pytest.mark.parametrize('changes', [
    {'name': 'a\0b'}, {'datasets': {'val': {'name': 'a\0b'}}}, {'val': {'suffix': 'a\0b'}},
    {'path': {'pretrain_network_g': 'a\0b'}},
    {'datasets': {'train': {'dataroot_gt': 'a\0b'}}}, {'network_g': {'type': 'a\0b'}}, {'a\0b': 1}], ids=str)
def test_a_nul_is_in_no_name(changes: dict[str, Any], train_options: Callable[..., str]) -> None:
    with pytest.raises(OptionsError, match=r"line \d+: 'a\\x00b' has characters that no text may have"):
        load_options(train_options(**changes), True)


def test_two_sets_of_one_name(train_options: Callable[..., str]) -> None:
    data = {'name': 'photos', 'type': 'PairedImageDataset', 'dataroot_gt': 'a', 'dataroot_lq': 'b',
            'io_backend': {'type': 'disk'}}
    with pytest.raises(OptionsError, match="datasets: two sets have the name 'photos', by which results are kept"):
        load_options(train_options(datasets={'val_1': data}), True)


def test_missing_file_is_refused() -> None:
    with pytest.raises(OptionsError, match=r'nowhere.yml: the option file cannot be read: No such file'):
        read_yaml('nowhere.yml')


PACKS = {'type': 'PairedPackDataset', 'io_backend': None}
TRAIN_FAULTS = {
    'misspelt key': ({'train': {'totl_iter': 3}}, "train.yml: train.totl_iter: unknown key; did you mean 'total_iter'?"),
    'misspelt section': ({'trian': {}}, "train.yml: trian: unknown key; did you mean 'train'?"),
    'data set key': ({'datasets': {'train': {'gt_sise': 1}}}, "datasets.train.gt_sise: unknown key; did you mean 'gt_size'?"),
    'data set phase': ({'datasets': {'tarin': {}}}, 'datasets.tarin'),
    'network argument': ({'network_g': {'num_feats': 8}}, "network_g.num_feats: unknown key; did you mean 'num_feat'?"),
    'network name': ({'network_g': {'type': 'VapRS'}}, "network_g.type: VapRS is not registered; did you mean 'VapSR'?"),
    'network value': ({'network_g': {'num_feat': '8'}}, "network_g: VapSR: num_feat must be a positive integer, not '8'"),
    'network scale': ({'network_g': {'scale': 3}}, 'network_g: is for x3, but scale is 2'),
    'loss argument': ({'train': {'pixel_opt': {'los_weight': 1}}}, "train.pixel_opt.los_weight: unknown key; did you mean"),
    'loss name': ({'train': {'pixel_opt': {'type': 'L1Los'}}}, "train.pixel_opt.type: L1Los is not registered; did you mean"),
    'own loss': ({'train': {'pixel_opt': {'type': 'loss.py:Mine'}}}, 'PerceptualLoss, WeightedTVLoss; one of your own comes by '
                 'plugins:'),
    'metric argument': ({'val': {'metrics': {'psnr': {'crop_boarder': 2}}}}, "val.metrics.psnr.crop_boarder: unknown key"),
    'metric value': ({'val': {'metrics': {'psnr': {'crop_border': None}}}},
                     'val.metrics.psnr.crop_border: Input should be a valid integer, not empty'),
    'text for a boolean': ({'val': {'metrics': {'psnr': {'test_y_channel': 'no'}}}},
                           "val.metrics.psnr.test_y_channel: Input should be a valid boolean, not 'no'"),
    'wrong type': ({'train': {'total_iter': 'many'}}, "train.total_iter: Input should be a valid integer, not 'many'"),
    'wrong value': ({'scale': 0}, 'scale: Input should be greater than or equal to 1, not 0'),
    'missing key': ({'train': {'optim_g': {'lr': None}}}, 'train.optim_g.lr'),
    'unknown optimizer': ({'train': {'optim_g': {'type': 'Adamm'}}},
                          "train.optim_g.type: Adamm is not registered; did you mean 'Adam'?"),
    'gt_size': ({'datasets': {'train': {'gt_size': 15}}}, 'datasets.train.gt_size: 15 is not a multiple of the scale 2'),
    'no batch size': ({'datasets': {'train': {'batch_size_per_gpu': None}}},
                      'datasets.train.batch_size_per_gpu: is required for training'),
    'no ground truth': ({'datasets': {'train': {'dataroot_gt': None}}}, 'datasets.train.dataroot_gt: is required'),
    'test set in training': ({'datasets': {'test': {'name': 'a', 'type': 'SingleImageDataset', 'dataroot_lq': 'a',
                                                    'io_backend': {'type': 'disk'}}}}, 'name the test sets val'),
    'cuda prefetch': ({'datasets': {'train': {'prefetch_mode': 'cuda', 'pin_memory': False}}},
                      'prefetch_mode: cuda needs pin_memory: true'),
    'no loss': ({'train': {'pixel_opt': None}}, 'train: a loss is required, such as pixel_opt'),
    'NUL in a name': ({'name': 'a\0b'}, "line 1: 'a\\x00b' has characters that no text may have"),
    'name of the weights': ({'name': 'pretrained_models'}, 'name: experiments/pretrained_models is where weights lie'),
    'GPUs': ({'num_gpu': 'abc'}, "train.yml: num_gpu: must be a whole number from 0 on, or auto, not 'abc'\n"),
    'no GPUs': ({'num_gpu': True}, 'train.yml: num_gpu: must be a whole number from 0 on, or auto, not true\n'),
    'section': ({'train': 5}, 'train.yml: train: must be a section, not 5\n'),
    'list': ({'train': {'scheduler': {'milestones': 5}}}, 'milestones: must be a list, such as [1, 2], not 5\n'),
    'phase': ({'datasets': {'vall': {}}}, 'a data set is named train, val, val_1, ..., or test, test_1, ...'),
    'mean alone': ({'datasets': {'train': {'mean': [0.5, 0.5, 0.5]}}}, 'datasets.train: mean and std go together'),
    'not a number': ({'train': {'scheduler': {'gamma': float('nan')}}}, 'gamma: Input should be a finite number, not nan'),
    'huge network': ({'network_g': {'num_block': 10**9}}, 'network_g.num_block: must be at most 1,024, not 1000000000'),
    'folder as name': ({'name': '../elsewhere'}, 'name: must be a name: without / and'),
    'model': ({'model_type': 'SwinModel'}, "model_type: SwinModel is not registered; did you mean 'SwinIRModel'?"),
    'seed': ({'manual_seed': 2**32}, 'manual_seed: must be at most 2,147,483,647, not 4294967296'),
    'a float without end': ({'train': {'total_iter': 1e300}}, 'train.total_iter: must be at most 2,147,483,647, not 1e+300'),
    'workers': ({'datasets': {'train': {'num_worker_per_gpu': 10**6}}}, 'num_worker_per_gpu: Input should be less than or equal'),
    'repeats': ({'datasets': {'train': {'dataset_enlarge_ratio': 10**9}}}, 'dataset_enlarge_ratio: Input should be less than or'),
    'std': ({'datasets': {'train': {'mean': [0.5, 0.5, 0.5], 'std': [0.0, 1.0, 1.0]}}}, 'std.0: Input should be greater than 0'),
    'channels read': ({'network_g': {'num_in_ch': 1}}, 'network_g.num_in_ch: is 1, but images of datasets.train have 3 channels'),
    'channels made': ({'network_g': {'num_out_ch': 4}}, 'network_g.num_out_ch: is 4, but images of datasets.train have 3'),
    'luma': ({'datasets': {'train': {'color': 'y'}}},
             'network_g.num_in_ch: is 3, but images of datasets.train have 1 channel: set it to 1'),
    'range': ({'network_g': {'img_range': '255'}}, "network_g.img_range: must be a number above 0, such as 255, not '255'"),
    'no range': ({'network_g': {'img_range': 0}}, 'network_g.img_range: must be a number above 0'),
    'multiple': ({'network_g': {'size_multiple': 0}}, 'network_g.size_multiple: must be a whole number from 1 to 1,024, not 0'),
    'loss weight': ({'train': {'pixel_opt': {'loss_weight': '1'}}}, "train.pixel_opt.loss_weight: must be a number, not '1'"),
    'loss of NaN': ({'train': {'pixel_opt': {'loss_weight': float('nan')}}}, 'loss_weight: must be a number, not nan'),
    'no path': ({'datasets': {'train': {'dataroot_lq': 5}}},
                'train.yml: datasets.train.dataroot_lq: must be a path or a list of paths, not 5\n'),
    'no packs': ({'datasets': {'train': {**PACKS, 'dataroot_lq': []}}},
                 'train.yml: datasets.train.dataroot_lq: must be a path or a list of paths, not []\n'),
    'empty pack': ({'datasets': {'train': {**PACKS, 'dataroot_lq': ['a', '']}}},
                   "train.yml: datasets.train.dataroot_lq: must be a path or a list of paths, not ['a', '']\n"),
    'list of folders': ({'datasets': {'train': {'dataroot_lq': ['a', 'b']}}},
                        'datasets.train.dataroot_lq: a list is for PairedPackDataset, which takes packs: give one path\n'),
    'list in val': ({'datasets': {'val': {**PACKS, 'dataroot_lq': ['a', 'b']}}},
                    'train.yml: datasets.val.dataroot_lq: a list of packs is for training: name one pack\n'),
    'no val_freq': ({'val': {'val_freq': None}}, 'val.val_freq: is required for training'),
}


@pytest.mark.parametrize('name', TRAIN_FAULTS)
def test_faults_of_a_training_file(name: str, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    changes, words = TRAIN_FAULTS[name]
    result = vapsr('train', '-opt', train_options(**changes))
    assert result.code == 2
    assert words in result.err and 'Traceback' not in result.err
    assert not Path('experiments').exists()


def test_all_faults_are_listed_at_once(train_options: Callable[..., str]) -> None:
    path = train_options(scale=0, train={'totl_iter': 3}, logger={'print_frq': 1})
    with pytest.raises(OptionsError) as error:
        load_options(path, is_train=True)
    assert len(str(error.value).splitlines()) == 3


def test_cosine_schedule_must_cover_the_run(train_options: Callable[..., str]) -> None:
    path = Path(train_options())
    options = yaml.safe_load(path.read_text())
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [2]}
    path.write_text(yaml.safe_dump(options))
    with pytest.raises(OptionsError, match=r'train.scheduler.periods: sum to 2, less than total_iter 3'):
        load_options(path, is_train=True)


def test_training_file_given_to_test(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('test', '-opt', train_options())
    assert result.code == 2 and 'datasets.train: this is a training file' in result.err


def test_force_yml_sets_values_without_eval(train_options: Callable[..., str], tmp_path: Path) -> None:
    path = train_options()
    options = load_options(path, True, ['train:total_iter=7', 'train:optim_g:lr=1e-4', 'train:optim_g:betas=[0.5, 0.9]'])
    assert options['train']['total_iter'] == 7
    assert options['train']['optim_g'] == {'type': 'Adam', 'lr': 1e-4, 'betas': [0.5, 0.9]}
    marker = tmp_path / 'pwned'
    with pytest.raises(OptionsError):
        load_options(path, True, [f'train:total_iter=[__import__("pathlib").Path("{marker}").touch()]'])
    assert not marker.exists()


@pytest.mark.parametrize('entry, words', [
    ('total_iter', 'write SECTION:KEY=VALUE'),
    ('name:x=1', 'name is not a section'),
    ('train:total_iter=[1', "'[1' is not a YAML value"),
    ('train:total_iter=!!int x', "'!!int x' is not a YAML value: 'x' is not a whole number"),
    ('train:x={[a]: 1}', "'{[a]: 1}' is not a YAML value: a key is text, not a list or a section"),
    ('name=2001-02-30', "is read as a date: put it in quotes"),
    ('name=!!set {a}', 'could not determine a constructor for the tag'),
    ('name=' + '[' * 1500, 'sections within sections, more than 30 deep'),
    ('name=' + '9' * 5000, 'is not a whole number'),
    ('name=\0', 'the character U+0000 is not allowed'),
    (r'name="a\0b"', "'a\\x00b' has characters that no text may have"),
    ('name=..', 'name: must be a name'),
    ('train:' + 'a:' * 2000 + 'b=1', 'write SECTION:KEY=VALUE'),
    ('name=*a', "found undefined alias 'a'"),
    ('train:totl_iter=1', "train.totl_iter: unknown key; did you mean 'total_iter'?"),
])
def test_force_yml_faults(entry: str, words: str, train_options: Callable[..., str]) -> None:
    with pytest.raises(OptionsError) as error:
        load_options(train_options(), True, [entry])
    assert words in str(error.value) and len(str(error.value)) < 500
