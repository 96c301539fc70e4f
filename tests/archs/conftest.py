"""The reference material that some tests read."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def reference() -> Path:
    """The folder of the authors' checkpoints and the benchmark images."""
    folder = Path(os.environ.get('VAPSR_REFERENCE') or Path(__file__).parents[3] / 'shared')
    if not (folder / 'weights').is_dir():
        pytest.skip(f'no reference material: {folder} (set VAPSR_REFERENCE)')
    return folder
