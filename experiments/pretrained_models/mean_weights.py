"""Writes the mean of the EMA weights of several checkpoints, beside the plain weights of the last.

python experiments/pretrained_models/mean_weights.py CHECKPOINT... OUT
"""

import sys
from pathlib import Path

import torch

from vapsr_arch.files import written_whole


def main(sources: list[Path], out: Path) -> None:
    checkpoints = [torch.load(source, map_location='cpu', weights_only=True) for source in sources]
    averages = [checkpoint['params_ema'] for checkpoint in checkpoints]
    mean = {name: torch.stack([weights[name] for weights in averages]).mean(0) for name in averages[0]}
    with written_whole(out) as temporary:
        torch.save({'params': checkpoints[-1]['params'], 'params_ema': mean}, temporary)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit('usage: python mean_weights.py CHECKPOINT... OUT')
    main([Path(name) for name in sys.argv[1:-1]], Path(sys.argv[-1]))
