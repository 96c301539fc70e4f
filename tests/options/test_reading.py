"""Option files: the project's and the authors' pass; every fault is named by file and key."""

from collections.abc import Callable
from pathlib import Path

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
])
def test_bad_yaml_is_refused(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'bad.yml'
    path.write_text(text)
    with pytest.raises(OptionsError) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)
    assert not Path('pwned').exists()


def test_missing_file_is_refused() -> None:
    with pytest.raises(OptionsError, match=r'nowhere.yml: the option file cannot be read: No such file'):
        read_yaml('nowhere.yml')


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
    'metric argument': ({'val': {'metrics': {'psnr': {'crop_boarder': 2}}}}, "val.metrics.psnr.crop_boarder: unknown key"),
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
    'folder as name': ({'name': '../elsewhere'}, 'name: must be a name: without / and'),
    'model': ({'model_type': 'SwinModel'}, "model_type: SwinModel is not registered; did you mean 'SwinIRModel'?"),
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
    ('train:totl_iter=1', "train.totl_iter: unknown key; did you mean 'total_iter'?"),
])
def test_force_yml_faults(entry: str, words: str, train_options: Callable[..., str]) -> None:
    with pytest.raises(OptionsError) as error:
        load_options(train_options(), True, [entry])
    assert words in str(error.value)
