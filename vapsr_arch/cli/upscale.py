"""`vapsr upscale`."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vapsr_arch.cli.network_options import OptFile, ParamKey, described_network
from vapsr_arch.cli.pipeline_options import Plugins
from vapsr_arch.errors import OptionsError
from vapsr_arch.memory import keep_freed_memory

if TYPE_CHECKING:
    from torch import nn


def upscale(
    inputs: Annotated[list[str], typer.Argument(metavar='INPUT...', help="Files, folders, patterns such as 'photos/*.jpg'.")],
    out: Annotated[Path, typer.Option('-o', '--out', metavar='OUT', help='A folder; for one file, the file to write.')],
    weights: Annotated[str | None, typer.Option(metavar='NAME|FILE', show_default=False, help='A name of '
                       'experiments/pretrained_models, a checkpoint of any network here or of one that spandrel knows, or an '
                       'ONNX file. By default the shipped VapSR-S of the scale: for JPEG and lossy WebP the photo weights.')]
    = None,
    scale: Annotated[int | None, typer.Option('-s', '--scale', min=1, show_default=False, help="The scale; by default the "
                     "weights', or 4. PAN's checkpoints for x2 and x3 look alike.")] = None,
    param_key: ParamKey = None,
    opt: OptFile = None,
    plugin: Plugins = None,
    recursive: Annotated[bool, typer.Option('-r', '--recursive', help='Also look into subfolders.')] = False,
    suffix: Annotated[str, typer.Option(help="Added to the outputs' names.")] = '',
    kind: Annotated[Literal['png', 'jpeg', 'webp', 'tiff', 'avif', 'bmp', 'ppm', 'pgm'] | None, typer.Option(
        '--format', help="The outputs' format; by default each input's. JPEG, WebP and AVIF are written with quality 95.")]
    = None,
    png_level: Annotated[int, typer.Option(min=0, max=9, help='PNG compression. Beside 2, level 1 takes two thirds of the time '
                                           'for files half as large again; 9 takes thirty times as long for files a fifth '
                                           'smaller.')] = 2,
    shard: Annotated[str | None, typer.Option(metavar='I/N', show_default=False, help='Of all inputs, every N-th from the I-th '
                                              'on, in the order of their paths: the part of one of N processes.')] = None,
    force: Annotated[bool, typer.Option('--force', help='Overwrite existing outputs; by default they are skipped.')] = False,
    device: Annotated[Literal['auto', 'cpu', 'cuda', 'mps'], typer.Option(help='Where to run; auto takes a CUDA GPU if there is '
                                                                               'one, mps is the GPU of a Mac.')]
    = 'auto',
    precision: Annotated[Literal['fp32', 'bf16', 'fp16'], typer.Option(help='What the network computes in.')] = 'fp32',
    engine: Annotated[Literal['torch', 'compile', 'openvino', 'onnxruntime'], typer.Option(help='What runs the network.')]
    = 'torch',
    tile: Annotated[str, typer.Option(metavar='auto|N', help='Height and width of a tile in LR pixels; auto: as the free memory '
                                      'allows. Halved when memory runs out.')] = 'auto',
    halo: Annotated[str, typer.Option(metavar='auto|full|N', help='LR pixels around a tile that the network sees; full: the '
                                                                  'result is that of the whole image.')] = 'auto',
    self_ensemble: Annotated[bool, typer.Option('--self-ensemble', help='The mean over 8 flips and rotations, 8 times as slow.')
                             ] = False,
) -> None:
    """Upscale images: PNG, JPEG, WebP, TIFF, AVIF, BMP, PPM; 8 and 16 bits; grey, RGB, alpha.

    EXIF, XMP and ICC profile are kept; images are rotated as their EXIF orientation says.
    """
    tile_size, halo_size = _number(tile, '--tile', 16, ('auto',)), _number(halo, '--halo', 0, ('auto', 'full'))
    part = _shard(shard) if shard else None
    from vapsr_arch.inference.jobs import plan_jobs, shard_of
    from vapsr_arch.weights.names import find_weights
    jobs = plan_jobs(inputs, out, recursive, suffix, kind)
    if part:
        count, jobs = len(jobs), shard_of(jobs, *part)
        print(f'shard {shard}: {len(jobs)} of {count} images', file=sys.stderr)
    if weights is not None and not opt:
        find_weights(weights)  # also where nothing is left to do
    wanted = [job for job in jobs if force or not job.output.exists()]
    if len(wanted) < len(jobs):
        print(f'{len(jobs) - len(wanted)} of {len(jobs)} outputs exist already and are kept; --force overwrites them',
              file=sys.stderr)
    if not wanted:
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that partly written files are removed
    keep_freed_memory()
    from vapsr_arch.inference.batch import say, suited_weights, upscale_files
    from vapsr_arch.inference.upscaler import Upscaler

    def upscaler(network: 'str | Path | nn.Module') -> Upscaler:
        return Upscaler(network, scale=scale, param_key=param_key, device=device, precision=precision, engine=engine,
                        tile=tile_size, halo=halo_size, self_ensemble=self_ensemble, log=say)

    network = described_network(weights, opt, plugin, scale, param_key, say) or weights
    chosen = dict.fromkeys(wanted, network) if network is not None else suited_weights(wanted, scale)
    upscalers = {network: upscaler(network) for network in dict.fromkeys(chosen.values())}
    upscale_files([(job, upscalers[network]) for job, network in chosen.items()], png_level)


def _number(text: str, option: str, smallest: int, words: tuple[str, ...]) -> int | str:
    if text in words:
        return text
    if not text.isdecimal() or int(text) < smallest:
        raise OptionsError(f'{option} {text}: give {" or ".join(words)}, or a number of pixels, {smallest} or more')
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition('/')
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionsError(f'--shard {text}: give I/N, with I from 1 to N, such as 1/4 to 4/4 for four processes')
    return int(number), int(count)
