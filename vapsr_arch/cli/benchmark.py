"""`vapsr benchmark`."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer

from vapsr_arch.errors import OptionsError, VapsrError


def benchmark(
    opt: Annotated[list[Path], typer.Argument(metavar='OPT...', help='Test option files of one scale.')],
    out: Annotated[Path, typer.Option('-o', '--out', metavar='DIR', help='Where tables, plots and pictures go.')],
    own_set: Annotated[tuple[str, Path, Path] | None, typer.Option(
        '--set', metavar='NAME HR_DIR LR_DIR', help="Images to test on in place of the option files' sets.")] = None,
    compare: Annotated[list[str] | None, typer.Option(metavar='IMAGE', help='Draw the strip of a test image, such as '
                                                      'Set14/barbara; may be given again.')] = None,
    crop: Annotated[tuple[int, int, int, int] | None, typer.Option(
        metavar='X Y W H', help="The strip's patch, in HR pixels; by default where the networks differ most.")] = None,
    receptive_field: Annotated[bool, typer.Option('--receptive-field', help="Draw each network's effective receptive field "
                                                  "and local attribution map.")] = False,
    device: Annotated[Literal['auto', 'cpu', 'cuda'], typer.Option(help='Where to run; auto takes a GPU if there is one.')]
    = 'auto',
) -> None:
    """Test networks on the same images and measure what they cost: table.md, table.csv, results.json, index.html, plots."""
    if crop and len(compare or []) != 1:
        raise OptionsError('--crop X Y W H is the patch of one image: give --compare IMAGE once')
    missing = [name for name in ('fvcore', 'matplotlib') if importlib.util.find_spec(name) is None]
    if missing:
        raise VapsrError(f'vapsr benchmark needs {" and ".join(missing)}: install this package with the extra [benchmark], as '
                         f'in `pip install --no-build-isolation -c constraints.txt .[benchmark]`')
    from vapsr_arch.pipeline.registration import register
    register()
    from vapsr_arch.report.benchmark import Benchmark
    from vapsr_arch.report.report import crop_of, find_image, write_report
    result = Benchmark(opt, out, device, own_set)
    images = [find_image(result, name) for name in compare or []]
    patch = crop_of(result, *images[0], crop) if crop else None
    result.run()
    write_report(result, images, patch, receptive_field)
    failed = [run for run in result.runs if run.failure]
    if failed:
        raise VapsrError('; '.join(f'{run.title}: {run.failure}' for run in failed))
