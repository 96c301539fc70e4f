"""Which metrics are better when they are lower."""

import re
from typing import Any

# Of pyiqa 0.1; variants, such as lpips-vgg and niqe_matlab, are like them.
_LOWER_OF_PYIQA = ('afine', 'brisque', 'deepdc', 'dists', 'fid', 'gmsd', 'ilniqe', 'lpips', 'mad', 'msswd', 'niqe', 'nlpd', 'pi',
                   'pieapp', 'piqe', 'sfid', 'stlpips')


def lower_is_better(metric: dict[str, Any]) -> bool:
    """Whether an entry of `val.metrics` is an error, the less the better: BasicSR's NIQE; LPIPS, DISTS and others of pyiqa."""
    if metric['type'] == 'calculate_pyiqa':
        return re.split('[-_+]', str(metric.get('metric')))[0] in _LOWER_OF_PYIQA
    return metric['type'] == 'calculate_niqe'
