"""The package. torch and BasicSR come first: see docs/install.md."""

import importlib.util
import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

if importlib.util.find_spec('basicsr') is None:
    sys.exit('vapsr_arch is installed where BasicSR is already there, and not in an isolated build: PyPI has no wheel of '
             'BasicSR, and its source needs corrections: `pip install -c constraints.txt torch torchvision setuptools wheel`, '
             '`pip install -c constraints.txt "$(python tools/basicsr_wheel.py)"`, then '
             '`pip install --no-build-isolation -c constraints.txt .`')

setup(
    name='vapsr_arch',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'vapsr_arch/__init__.py').read_text()).group(1),
    description='VapSR, efficient image super-resolution, as a BasicSR plugin that trains, tests and compares',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 15)],
    packages=[*find_packages(include=['vapsr_arch', 'vapsr_arch.*']), 'vapsr_arch.pretrained'],
    package_dir={'vapsr_arch.pretrained': 'experiments/pretrained_models'},
    package_data={'vapsr_arch.archs.common': ['*.c'], 'vapsr_arch.data': ['*.yml'], 'vapsr_arch.engines': ['*.c'],
                  'vapsr_arch.report': ['*.html', '*.yml'], 'vapsr_arch.app': ['*.css'],
                  'vapsr_arch.pretrained': ['README.md', 'VapSR-S_*.pth']},
    python_requires='>=3.10, <3.15',
    install_requires=[
        'basicsr==1.4.2', 'torch>=2.7', 'torchvision', 'numpy', 'opencv-python', 'lmdb', 'pyyaml', 'pillow', 'tqdm',
        'pyvips[binary]>=3.1', 'pydantic>=2', 'typer', 'safetensors', 'setuptools',
    ],
    extras_require={
        'app': ['gradio>=6.31'],
        'benchmark': ['matplotlib'],
        'docs': ['mkdocs-material'],
        'demo': ['scikit-image', 'matplotlib'],
        'metrics': ['pyiqa'],
        'export': ['onnx', 'onnxruntime', 'openvino'],
        'ncnn': ['ncnn', 'pnnx'],
        'spandrel': ['spandrel'],
        'test': ['pytest', 'pytest-xdist', 'ruff', 'hypothesis', 'scikit-image', 'matplotlib', 'spandrel', 'tifffile',
                 'jsonschema', 'triton; sys_platform == "linux"'],  # torch's builds for GPUs bring it, that for CPUs does not
    },
    entry_points={'console_scripts': ['vapsr = vapsr_arch.__main__:run']},
)
