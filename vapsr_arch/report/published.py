"""What the networks' authors published, for comparison with what is measured: `published.yml`."""

import functools
from pathlib import Path
from typing import Any

import yaml

from vapsr_arch.archs import AUTHORS_NAMES


@functools.cache
def _entries() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load(Path(__file__).with_suffix('.yml').read_text(encoding='utf-8')))


def published(network: str, scale: int, parameters: int) -> dict[str, Any] | None:
    """The published figures of a network, found by its type, its scale and its exact number of parameters.

    Returns:
        `source` and `sets`, PSNR in dB and SSIM on Y by set; None if there are none.
    """
    name = AUTHORS_NAMES.get(network, network)
    for entry in _entries():
        if (entry['network'], entry['scale'], entry['parameters']) == (name, scale, parameters):
            return entry
    return None
