"""`vapsr train --dry-run`: everything is built, nothing is kept, the cost is reported."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Finished


def test_a_dry_run(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    options = train_options(train={'total_iter': 1000}, val={'val_freq': 250}, logger={
        'use_tb_logger': True, 'save_checkpoint_freq': 100, 'keep_last': 3})
    before = sorted(Path().rglob('*'))
    result = vapsr('train', '-opt', options, '--dry-run', '--auto_resume')
    assert result.code == 0
    assert sorted(Path().rglob('*')) == before
    assert result.err.count('l_pix') == 2 and result.err.count('Validation photos') == 1
    assert 'vapsr-dry-run-' not in result.err  # a folder that is gone
    assert re.search(r'The dry run went through; small as a whole will take about\n'
                     r'  \d:\d\d:\d\d: 1,000 iterations of [\d.e-]+ s, 5 validations of [\d.e-]+ s\n'
                     r'  [\d.,]+ MB of checkpoints and states; [\d.,]+ MB are free here\n', result.out)


def test_the_size_is_what_a_run_takes(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    changes = {'train': {'total_iter': 8}, 'val': {'val_freq': 4}, 'logger': {'keep_last': 2, 'save_checkpoint_freq': 1}}
    printed = vapsr('train', '-opt', train_options(**changes), '--dry-run').out
    vapsr('train', '-opt', train_options(**changes))
    size = sum(path.stat().st_size for path in Path('experiments/small').rglob('*') if path.suffix in ('.pth', '.state'))
    printed_size = float(re.search(r'([\d.]+) MB of checkpoints', printed)[1]) * 1e6
    assert size <= printed_size + 5e4 < 2 * size


def test_faults_are_found(train_options: Callable[..., str], vapsr: Callable[..., Finished]) -> None:
    result = vapsr('train', '-opt', train_options(datasets={'train': {'batch_size_per_gpu': 9}}), '--dry-run')
    assert result.code == 1 and 'do not fill one batch of 9' in result.err
    assert not Path('experiments').exists()
