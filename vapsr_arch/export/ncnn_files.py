"""Networks as files of ncnn, named and with blobs as Upscayl and realesrgan-ncnn-vulkan expect them; pnnx converts."""

import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vapsr_arch.engines.graphs import graph_min_size, network_name
from vapsr_arch.errors import VapsrError
from vapsr_arch.export.files import check
from vapsr_arch.files import written_whole

TIMEOUT = 900  # seconds; pnnx needs some ten for any network here
BLOBS = {'in0': 'data', 'out0': 'output'}  # pnnx's names, and those that the programs ask for


def ncnn_name(stem: str, scale: int) -> str:
    """The name of the two files without their suffixes: it ends in the scale, which Upscayl reads from it."""
    return f'{re.sub(rf"[-_]x{scale}$", "", stem, flags=re.IGNORECASE)}-x{scale}'


def export_ncnn(network: nn.Module, param: Path) -> tuple[float, float | None]:
    """Writes ncnn's two files, `param` and its `.bin`, with weights in fp16, when ncnn has run them on the CPU.

    Args:
        network: A network with what `weights.described` gives it, of three channels.
        param: The `.param` file.

    Returns:
        The largest difference from torch, as `check` has it; and that with GELU's approximation by tanh, which ncnn takes on
        GPUs, None for a network without GELU.

    Raises:
        VapsrError: pnnx or ncnn cannot do it, or the difference is larger than fp16 explains.
    """
    if network.num_in_ch != 3:
        raise VapsrError(f'{param} was not written: {network_name(network)} takes {network.num_in_ch} channels, and the programs '
                         f'that load files of ncnn give RGB')
    with tempfile.TemporaryDirectory() as name:
        converted = Path(name, 'model.param')
        _convert(network, converted, param)
        difference = check(param, lambda x: _run(converted, x, param), network, 'fp16')
        text = converted.read_text()
        approximate, count = re.subn(r'^(GELU .*)$', r'\1 0=1', text, flags=re.MULTILINE)
        approximation = None
        if count:
            converted.write_text(approximate)
            approximation = check(param, lambda x: _run(converted, x, param), network, 'fp16')
        with written_whole(param.with_suffix('.bin')) as temporary:
            temporary.write_bytes(converted.with_suffix('.bin').read_bytes())
        with written_whole(param) as temporary:
            temporary.write_text(text)
    return difference, approximation


def _convert(network: nn.Module, converted: Path, param: Path) -> None:
    """Has pnnx write `converted` and its `.bin`; `param` is the name for messages.

    Raises:
        VapsrError: It does not.
    """
    import pnnx
    side = max(graph_min_size(network), 24)
    script = converted.with_suffix('.pt')
    shapes = [f'[1,3,{height},{width}]' for height, width in ((side, side + 8), (side + 8, side + 20))]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the trace leaves out the checks of the input's size
            torch.jit.trace(network.eval(), torch.rand(1, 3, side, side + 8), check_trace=False).save(str(script))
        # From two shapes pnnx sees which dimensions vary. It writes other files, too, all beside the script.
        done = subprocess.run(
            [pnnx.EXEC_PATH, script.name, f'inputshape={shapes[0]}', f'inputshape2={shapes[1]}', 'fp16=1',
             f'ncnnparam={converted.name}', f'ncnnbin={converted.stem}.bin'],
            cwd=converted.parent, capture_output=True, text=True, errors='replace', timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise VapsrError(f'{param} was not written: pnnx (extra `ncnn`) was not done with {network_name(network)} after '
                         f'{TIMEOUT} s') from None
    except (RuntimeError, OSError) as error:
        raise VapsrError(f'{param} was not written: {network_name(network)} cannot be given to pnnx (extra `ncnn`): '
                         f'{_last_line(str(error))}') from None
    if done.returncode or not converted.is_file():
        raise VapsrError(f'{param} was not written: pnnx (extra `ncnn`) cannot convert {network_name(network)}: it ended with '
                         f'code {done.returncode}: {_last_line(done.stderr)}')
    text = converted.read_text()
    for old, new in BLOBS.items():
        text = re.sub(rf'(?<=\s){old}(?=\s)', new, text)
    # The size of another blob is said twice, by `5=1` and by an expression; programs with an older ncnn do not read the latter.
    converted.write_text(re.sub(r'^(Interp .* 5=1\b.*) 9="1w,1h"', r'\1', text, flags=re.MULTILINE))


def _run(converted: Path, x: Tensor, param: Path) -> Tensor:
    """ncnn's results for images, one by one, from a process of its own: ncnn crashes on some faults of a file.

    Raises:
        VapsrError: It cannot run the files.
    """
    images, results = converted.with_suffix('.npy'), converted.with_name('results.npy')
    np.save(images, x.numpy())
    try:
        done = subprocess.run([sys.executable, Path(__file__).with_name('ncnn_run.py'), converted, images, results],
                              capture_output=True, text=True, errors='replace', timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise VapsrError(f'{param} was not written: ncnn (extra `ncnn`) did not run what pnnx made within {TIMEOUT} s') from None
    if done.returncode:
        raise VapsrError(f'{param} was not written: ncnn (extra `ncnn`) cannot run what pnnx made of the network: '
                         f'{_last_line(done.stderr) or f"it ended with code {done.returncode}"}')
    return torch.from_numpy(np.load(results))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), '')
