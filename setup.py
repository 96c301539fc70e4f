"""The package. torch and what BasicSR's build needs come first: see `constraints.txt` and the README."""

import importlib.util
import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

if sys.version_info >= (3, 13):
    sys.exit('vapsr_arch needs Python 3.10 to 3.12: BasicSR 1.4.2 cannot be built on 3.13 and later.')
missing = [name for name, module in (('torch', 'torch'), ('torchvision', 'torchvision'), ('numpy', 'numpy'),
                                     ('cython', 'Cython')) if importlib.util.find_spec(module) is None]
if missing:
    sys.exit(f'vapsr_arch is installed where {", ".join(missing)} is already there, and not in an isolated build, which '
             f'would download another torch: `pip install torch==2.13.0`, `pip install -c constraints.txt torchvision numpy '
             f'cython setuptools wheel`, then `pip install --no-build-isolation -c constraints.txt .`')

setup(
    name='vapsr_arch',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'vapsr_arch/__init__.py').read_text()).group(1),
    description='VapSR, efficient image super-resolution, as a BasicSR plugin that trains, tests and compares',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=[*find_packages(include=['vapsr_arch', 'vapsr_arch.*']), 'vapsr_arch.pretrained'],
    package_dir={'vapsr_arch.pretrained': 'experiments/pretrained_models'},
    package_data={'vapsr_arch.archs.common': ['*.c'], 'vapsr_arch.data': ['*.yml'], 'vapsr_arch.engines': ['*.c'],
                  'vapsr_arch.report': ['*.html', '*.yml'],
                  'vapsr_arch.pretrained': ['README.md', 'VapSR-S_*.pth']},
    python_requires='>=3.10, <3.13',
    install_requires=[
        'basicsr==1.4.2', 'torch>=2.7', 'torchvision', 'numpy', 'opencv-python', 'lmdb', 'pyyaml', 'pillow', 'tqdm',
        'pyvips[binary]>=3.1', 'pydantic>=2', 'typer', 'safetensors', 'setuptools',
    ],
    extras_require={
        'benchmark': ['fvcore', 'matplotlib'],
        'demo': ['scikit-image', 'matplotlib'],
        'metrics': ['pyiqa'],
        'export': ['onnx', 'onnxruntime', 'openvino'],
        'ncnn': ['ncnn', 'pnnx'],
        'spandrel': ['spandrel'],
        'test': ['pytest', 'pytest-xdist', 'ruff', 'hypothesis', 'scikit-image', 'matplotlib', 'fvcore', 'spandrel', 'tifffile',
                 'triton; sys_platform == "linux"'],  # torch's builds for GPUs bring it, that for CPUs does not
    },
    entry_points={'console_scripts': ['vapsr = vapsr_arch.__main__:run']},
)
