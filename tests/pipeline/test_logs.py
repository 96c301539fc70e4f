"""Weights & Biases, by a module that takes its place and notes what it is asked."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Finished

WANDB = """
import json

class Error(Exception):
    pass

class Run:
    id = 'abc'

def init(**arguments):
    if arguments['project'] == 'refused':
        raise Error('api_key not configured')
    json.dump(arguments, open('wandb.json', 'w'))
    return Run()
"""


@pytest.fixture
def wandb(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where it notes the arguments of its `init`."""
    (workspace / 'site').mkdir()
    (workspace / 'site/wandb.py').write_text(WANDB)
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    monkeypatch.syspath_prepend(workspace / 'site')
    yield workspace / 'wandb.json'
    sys.modules.pop('wandb', None)


@pytest.mark.parametrize('resume_id, resume', [(None, None), ('xyz', 'allow')])
def test_wandb_follows_the_curves(resume_id: str | None, resume: str | None, wandb: Path, train_options: Callable[..., str],
                                  vapsr: Callable[..., Finished]) -> None:
    logger = {'use_tb_logger': True, 'wandb': {'project': 'sr', 'resume_id': resume_id}}
    result = vapsr('train', '-opt', train_options(logger=logger))
    assert result.code == 0 and 'wandb: project sr, id abc' in result.err
    asked = json.loads(wandb.read_text())
    assert asked.pop('config')['train']['total_iter'] == 3
    assert asked == {'project': 'sr', 'entity': None, 'id': resume_id, 'resume': resume, 'name': 'small',
                     'sync_tensorboard': True}


def test_wandb_leaves_debugging_alone(wandb: Path, train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = train_options(logger={'use_tb_logger': True, 'wandb': {'project': 'sr'}})
    assert vapsr('train', '-opt', options, '--debug').code == 0 and not wandb.exists()


@pytest.mark.parametrize('logger, code, words', [
    ({'use_tb_logger': True, 'wandb': {'project': 'refused'}}, 1,
     'logger.wandb: api_key not configured; WANDB_MODE=offline needs no server'),
    ({'wandb': {'project': 'sr'}}, 2, 'set logger.use_tb_logger: true')])
def test_wandb_that_cannot_be_begun(logger: dict, code: int, words: str, wandb: Path, train_options: Callable[..., str],
                                    vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(logger=logger))
    assert result.code == code and words in result.err.splitlines()[-1]
    assert not Path('experiments').exists() and not Path('tb_logger').exists()


def test_wandb_that_is_not_installed(train_options: Callable[..., str], vapsr: Callable[..., Finished],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'wandb', None)
    result = vapsr('train', '-opt', train_options(logger={'use_tb_logger': True, 'wandb': {'project': 'sr'}}))
    assert result.code == 2 and '`pip install wandb`' in result.err.splitlines()[-1]
