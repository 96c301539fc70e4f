"""Runs ncnn's files on images: `python ncnn_run.py MODEL.param IMAGES.npy RESULTS.npy`; a script that imports nothing here."""

import sys
from pathlib import Path

import ncnn
import numpy as np


def run(param: Path, images: np.ndarray) -> np.ndarray:
    """Gives the results of one CPU thread for N x C x H x W, float32; ends the process where ncnn cannot."""
    network = ncnn.Net()
    network.opt.num_threads = 1
    if network.load_param(str(param)) or network.load_model(str(param.with_suffix('.bin'))):
        sys.exit(1)  # ncnn has said why
    results = []
    for image in images:
        extractor = network.create_extractor()
        # A clone has the alignment of channels that ncnn counts on; a view of the array has not.
        extractor.input('data', ncnn.Mat(image).clone())
        code, result = extractor.extract('output')
        if code:
            sys.exit(f'a layer failed on an image of {image.shape[2]}x{image.shape[1]} pixels')
        results.append(np.array(result))
    return np.stack(results)


if __name__ == '__main__':
    np.save(sys.argv[3], run(Path(sys.argv[1]), np.load(sys.argv[2])))
