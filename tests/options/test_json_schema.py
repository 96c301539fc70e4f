"""The JSON schema of option files: as committed, named by every option file, agreeing with the reader; `vapsr options`."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY, Finished, merged
from vapsr_arch.models.nan_guard import NanGuard
from vapsr_arch.options import schema
from vapsr_arch.options.json_schema import _without_none, json_schema, json_text, resolved
from vapsr_arch.options.keys import Section
from vapsr_arch.options.reading import load_options
from vapsr_arch.options.yaml_files import read_yaml

OPTIONS = REPOSITORY / 'options'
FILES = sorted(OPTIONS.rglob('*.yml'))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
TRAINING = OPTIONS / 'train/VapSR/train_VapSR_x4_DF2K.yml'


def test_the_committed_schema_is_the_codes() -> None:
    assert (OPTIONS / 'schema.json').read_text(encoding='utf-8') == json_text(), \
        'write it again: vapsr options schema > options/schema.json'
    VALIDATOR.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_option_files_name_the_schema_and_follow_it(file: Path) -> None:
    named = re.match(r'# yaml-language-server: \$schema=(\S+)\n# ', file.read_text(encoding='utf-8'))
    assert named and (file.parent / named[1]).resolve() == OPTIONS / 'schema.json'
    VALIDATOR.validate(read_yaml(file))


@pytest.mark.parametrize('changes', [
    {'colour': 1}, {'scale': '4'}, {'scale': 0}, {'num_gpu': 'all'}, {'name': 'a/b'}, {'datasets': {'training': {}}},
    {'datasets': {'train': {'gt_sise': 192}}}, {'datasets': {'train': {'dataroot_lq': []}}},
    {'datasets': {'train': {'dataroot_lq': ['a.pack', 4]}}}, {'datasets': {'train': {'io_backend': {'type': 'zip'}}}},
    {'network_g': {'type': 4}}, {'network_d': 'VGG'}, {'path': {'pretrained': 'a.pth'}}, {'train': {'total_itre': 5}},
    {'train': {'amp': 'fp8'}}, {'train': {'scheduler': {'milestone': [1]}}}, {'train': {'optim_g': {'lr': 0}}},
    {'train': {'edge_opt': {'loss_weight': 1}}}, {'val': {'metrics': {'lpips': {}}}}, {'logger': {'print_freq': 0.5}}], ids=str)
def test_faults_are_found_by_the_schema_and_by_reading(changes: dict[str, Any], tmp_path: Path) -> None:
    options = merged(read_yaml(TRAINING), changes)
    (tmp_path / 'wrong.yml').write_text(yaml.safe_dump(options))
    assert not VALIDATOR.is_valid(options)
    with pytest.raises(Exception, match=r'wrong\.yml'):
        load_options(tmp_path / 'wrong.yml', is_train=True)


@pytest.mark.parametrize('changes', [
    {'train': {'edge_opt': {'type': 'EdgeLoss', 'weight': 1}}}, {'train': {'scheduler': {'type': 'ExponentialLR', 'gamma': 0.9}}},
    {'train': {'optim_g': {'type': 'SGD', 'momentum': 0.9}}}, {'train': {'amp': False, 'total_iter': 5e3}},
    {'datasets': {'train': {'type': 'NoisyDataset', 'noise': 0.1}}},
    {'model_type': 'MixingModel', 'train': {'mixing': 0.1}, 'network_d': {'type': 'VGGStyleDiscriminator'}}], ids=str)
def test_classes_of_others_are_open(changes: dict[str, Any], tmp_path: Path) -> None:
    options = merged(read_yaml(TRAINING), changes)
    if options['train']['scheduler']['type'] == 'ExponentialLR':
        del options['train']['scheduler']['milestones']
    (tmp_path / 'right.yml').write_text(yaml.safe_dump(options))
    VALIDATOR.validate(options)
    load_options(tmp_path / 'right.yml', is_train=True)


def test_a_list_of_packs_is_read(tmp_path: Path) -> None:
    packs = {'type': 'PairedPackDataset', 'io_backend': None, 'dataroot_lq': ['a.pack', 'b.pack']}
    options = merged(read_yaml(TRAINING), {'datasets': {'train': packs}})
    (tmp_path / 'packs.yml').write_text(yaml.safe_dump(options))
    VALIDATOR.validate(options)
    assert load_options(tmp_path / 'packs.yml', True)['datasets']['train']['dataroot_lq'] == ['a.pack', 'b.pack']
    forced = load_options(TRAINING, True, ['datasets:train:type=PairedPackDataset', 'datasets:train:io_backend=~',
                                           'datasets:train:dataroot_lq=[a.pack, b.pack]'])
    assert forced == load_options(tmp_path / 'packs.yml', True)


def test_every_key_is_described() -> None:
    sections = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, Section)]
    assert len(sections) > 10
    assert not [(section.__name__, key) for section in sections for key, field in section.model_fields.items()
                if not field.description]


def test_defaults_are_those_of_the_code() -> None:
    """What the code takes for a key that is not given, and what the schema says, are the same."""
    defaults = {key: field.default for section in (schema.Dataset, schema.Paths, schema.Train, schema.Validation, schema.Options)
                for key, field in section.model_fields.items() if not field.is_required()}
    sources = [file.read_text(encoding='utf-8') for file in (REPOSITORY / 'vapsr_arch').rglob('*.py')]
    used = {(key, value) for source in sources
            for key, value in re.findall(r"opt(?:ions|_opt)?(?:\['\w+'\])?\.get\('(\w+)', ([\w.'{}-]+)\)", source)
            if key in defaults}
    used |= {(key, value) for source in sources for key, value in re.findall(r"\bpath\.get\('(\w+)', ([\w.]+)\)", source)}
    assert len(used) > 5
    for key, value in used:
        if value not in ('{}', "'{}'"):
            assert ast.literal_eval(value) == defaults[key], key
    guard = NanGuard({})
    assert {key: getattr(guard, key) for key in schema.NanGuard.model_fields} == schema.NanGuard().model_dump()


def test_schema_command(vapsr: Callable[..., Finished]) -> None:
    result = vapsr('options', 'schema')
    assert result.code == 0 and json.loads(result.out) == json_schema()


def test_show_prints_a_file_that_reads_the_same(vapsr: Callable[..., Finished], tmp_path: Path) -> None:
    result = vapsr('options', 'show', str(TRAINING), '--force_yml', 'train:ema_decay=0.5', 'scale=4')
    assert result.code == 0, result.err
    options = yaml.safe_load(result.out)
    assert options['train']['ema_decay'] == 0.5 and options['train']['nan_guard']['patience'] == 10
    (tmp_path / 'shown.yml').write_text(result.out)
    assert resolved(tmp_path / 'shown.yml') == options
    given = load_options(TRAINING, True, ['train:ema_decay=0.5'])
    assert _without_none(merged(options, given)) == options


def test_show_of_a_file_with_faults(vapsr: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / 'a.yml').write_text(TRAINING.read_text().replace('gt_size', 'gt_sise'))
    result = vapsr('options', 'show', str(tmp_path / 'a.yml'))
    assert result.code == 2 and "gt_sise: unknown key; did you mean 'gt_size'?" in result.err
    assert vapsr('options', 'show', str(TRAINING), 'more').code == 2
