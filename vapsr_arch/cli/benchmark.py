"""`vapsr benchmark`."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from vapsr_arch.cli.pipeline_options import Plugins
from vapsr_arch.errors import OptionsError, VapsrError

_BETWEEN = '\0'  # no argument of a process has it


class RowCommand(TyperCommand):
    """Takes `--row NAME FOLDER` several times, for which typer has no type: each pair becomes one value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Joins the pairs, and parses."""
        joined, rest = [], list(args)
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] == '--row' and rest:
                joined.append(_BETWEEN.join(rest[:2]))
                del rest[:2]
        return super().parse_args(ctx, joined)


def benchmark(
    opt: Annotated[list[Path], typer.Argument(metavar='OPT...', help='Test option files; those of one scale share a table.')],
    out: Annotated[Path, typer.Option('-o', '--out', metavar='DIR', help='Where tables, plots and images go.')],
    own_set: Annotated[tuple[str, Path, Path] | None, typer.Option(
        '--set', metavar='NAME HR_DIR LR_DIR', help="Images to test on in place of the option files' sets.")] = None,
    plugin: Plugins = None,
    row: Annotated[list[str] | None, typer.Option(
        metavar='NAME FOLDER', help='Score images that another method upscaled, FOLDER/SET/IMAGE; may be given again.')] = None,
    published: Annotated[list[Path] | None, typer.Option(
        metavar='FILE.yml', help='Add rows of published figures; may be given again.')] = None,
    self_ensemble: Annotated[bool, typer.Option('--self-ensemble', help='Add a row NAME+ for each network: the mean over 8 flips '
                                                'and rotations, 8 times as slow.')] = False,
    highlight: Annotated[list[str] | None, typer.Option(
        metavar='NAME', help='Show this network in the accent colour, and its name in bold; may be given again.')] = None,
    compare: Annotated[list[str] | None, typer.Option(metavar='IMAGE', help='Draw the strip of a test image, such as '
                                                      'Set14/barbara; may be given again.')] = None,
    crop: Annotated[tuple[int, int, int, int] | None, typer.Option(
        metavar='X Y W H', help="The strip's patch, in HR pixels; by default where the networks differ most.")] = None,
    receptive_field: Annotated[bool, typer.Option('--receptive-field', help="Draw each network's effective receptive field "
                                                  "and local attribution map.")] = False,
    device: Annotated[Literal['auto', 'cpu', 'cuda'], typer.Option(help='Where to run; auto takes a GPU if there is one.')]
    = 'auto',
) -> None:
    """Test networks on the same images and measure what they cost: table.md, .csv and .tex, results.json, index.html, plots."""
    if crop and len(compare or []) != 1:
        raise OptionsError('--crop X Y W H is the patch of one image: give --compare IMAGE once')
    if importlib.util.find_spec('matplotlib') is None:
        raise VapsrError('vapsr benchmark needs matplotlib: install this package with the extra [benchmark], as in '
                         "`pip install --no-build-isolation -c constraints.txt '.[benchmark]'`")
    from vapsr_arch.pipeline.registration import register
    register()
    from vapsr_arch.report.benchmark import OwnSet, Wishes, read_benchmarks
    from vapsr_arch.report.report import crop_of, find_images, write_report
    benchmarks = read_benchmarks(opt, out, Wishes(
        device=device, own_set=OwnSet(*own_set) if own_set else None, plugins=plugin or (), self_ensemble=self_ensemble,
        folders=[_pair(text) for text in row or []], published=published or (), highlight=highlight or ()))
    images = [image for name in compare or [] for image in find_images(benchmarks, name)]
    patch = crop_of(images[0], crop) if crop else None
    for one in benchmarks:
        one.run()
    write_report(benchmarks, images, patch, receptive_field)
    failures = [f'{one.label}: {reason}' for each in benchmarks for one in each.rows
                for reason in dict.fromkeys(one.failures.values())]
    if failures:
        raise VapsrError('; '.join(failures))


def _pair(text: str) -> tuple[str, Path]:
    """`--row NAME FOLDER` as it was joined."""
    name, between, folder = text.partition(_BETWEEN)
    if not between:
        raise OptionsError(f'--row {name}: give a name and a folder, as in --row {name} results/{name}')
    return name, Path(folder)
