"""Builds BasicSR's wheel and prints its path, for `pip install -c constraints.txt "$(python tools/basicsr_wheel.py)"`.

PyPI holds only the source of BasicSR 1.4.2, and its setup.py has two faults. It reads the version from `locals()` after an
`exec`, which Python 3.13 and later answer with a KeyError (PEP 667). And it names torch as needed to build, so that a build
without torch downloads gigabytes, though torch is used for its CUDA extensions only, which are not built here. Both are
corrected in a copy of the source. That takes pip and setuptools, and no torch.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = 'basicsr==1.4.2 --hash=sha256:b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87'
CORRECTIONS = {
    "exec(compile(f.read(), version_file, 'exec'))\n    return locals()['__version__']":
        "exec(compile(f.read(), version_file, 'exec'), names := {})\n    return names['__version__']",
    "setup_requires=['cython', 'numpy', 'torch'],": '',
}
# `pip download` asks a source distribution for its name and version, that is, it runs the setup.py to be corrected. This
# build backend, found before the real one, answers instead.
BACKEND = '''
import pathlib, sys
__legacy__ = sys.modules[__name__]

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path(folder, 'basicsr-1.4.2.dist-info').mkdir()
    metadata = 'Metadata-Version: 2.1\\nName: basicsr\\nVersion: 1.4.2\\n'
    pathlib.Path(folder, 'basicsr-1.4.2.dist-info', 'METADATA').write_text(metadata)
    return 'basicsr-1.4.2.dist-info'
'''


def pip(*arguments: object, path: Path | None = None) -> None:
    """Runs pip; what it prints is shown if it fails. `path` is searched for modules before all else.

    Raises:
        SystemExit: It failed, with its exit code.
    """
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', *map(str, arguments)]
    environment = os.environ | ({'PYTHONPATH': str(path)} if path else {})
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if result.returncode:
        sys.stderr.write(result.stdout)
        sys.exit(result.returncode)


def download(folder: Path) -> Path:
    """Downloads the source, whose SHA-256 pip checks, and unpacks it into a folder; gives the source's own folder."""
    backend = folder / 'backend/setuptools'
    backend.mkdir(parents=True)
    (backend / '__init__.py').touch()
    (backend / 'build_meta.py').write_text(BACKEND, encoding='utf-8')
    (folder / 'requirements.txt').write_text(REQUIREMENT, encoding='utf-8')
    pip('download', '--no-deps', '--no-binary', 'basicsr', '--use-pep517', '--no-build-isolation', '--dest', folder,
        '-r', folder / 'requirements.txt', path=backend.parent)
    with tarfile.open(folder / 'basicsr-1.4.2.tar.gz') as archive:
        # Python 3.10.11, 3.11.3 and older have no filters; the archive's sum is checked.
        archive.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    return folder / 'basicsr-1.4.2'


def correct(setup: Path) -> None:
    """Rewrites BasicSR's setup.py with both faults corrected."""
    text = setup.read_text(encoding='utf-8')
    for old, new in CORRECTIONS.items():
        if old not in text:
            sys.exit(f'{setup}: this is not the setup.py of BasicSR 1.4.2, for it does not contain {old!r}.')
        text = text.replace(old, new)
    setup.write_text(text, encoding='utf-8')


def main() -> None:
    """Builds the wheel in the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Builds BasicSR's wheel and prints its path.")
    parser.add_argument('folder', nargs='?', type=Path, default=Path('build/wheels'), help='where (default: %(default)s)')
    folder = parser.parse_args().folder
    missing = [name for name in ('pip', 'setuptools') if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f'{" and ".join(missing)} must be installed in {sys.prefix} to build BasicSR: '
                 f'pip install -c constraints.txt setuptools wheel (with uv: uv venv --seed, then uv pip install ...).')
    with tempfile.TemporaryDirectory() as temporary:
        source = download(Path(temporary))
        correct(source / 'setup.py')
        pip('wheel', '--no-deps', '--no-index', '--use-pep517', '--no-build-isolation', '--wheel-dir', folder, source)
    print(folder / 'basicsr-1.4.2-py3-none-any.whl')


if __name__ == '__main__':
    main()
