"""`vapsr data`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from vapsr_arch.errors import OptionsError, VapsrError

app = typer.Typer(no_args_is_help=True, help='From a folder of photographs to a training set, checked.')

InDirs = Annotated[list[Path], typer.Argument(metavar='IN_DIR', help='Folders of images.')]
HrDirs = Annotated[list[Path], typer.Argument(metavar='HR_DIR', help='Folders of HR images.')]
OutDir = Annotated[Path, typer.Argument(metavar='OUT_DIR', help='Made if needed; finished images in it are kept.')]
Workers = Annotated[int | None, typer.Option(min=1, help='Images processed at a time; by default as many as there are cores.')]
Force = Annotated[bool, typer.Option('--force', help='Write even if the output folder holds other files.')]
Border = Annotated[Literal['symmetric', 'replicate'],
                   typer.Option(help="MATLAB's rule at the border: today's, or that of R2016a and before.")]


class _SeveralScales(TyperCommand):
    """Takes `--scale 2 3 4` for `--scale 2 --scale 3 --scale 4`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        expanded: list[str] = []
        for argument in args:
            follows_scale = len(expanded) > 1 and expanded[-2] == '--scale'
            expanded += ['--scale', argument] if follows_scale and argument.isdecimal() else [argument]
        return super().parse_args(ctx, expanded)


@app.command(cls=_SeveralScales)
def lr(
    hr_dirs: HrDirs,
    out_dir: OutDir,
    scale: Annotated[list[int], typer.Option(min=2, metavar='N [N ...]', help='Scales, such as 2 3 4.')],
    border: Border = 'symmetric',
    cut_hr: Annotated[bool, typer.Option('--cut-hr', help='Crop HR to a multiple of all scales and write that to OUT_DIR/HR, '
                                                          'for training.')] = False,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Make LR images as MATLAB's imresize does, to the bit: OUT_DIR/X2/NAME.png and so on."""
    from vapsr_arch.data.lr import make_lr
    make_lr(hr_dirs, out_dir, scale, border, cut_hr, workers, force)


@app.command()
def degrade(
    hr_dirs: HrDirs,
    out_dir: OutDir,
    scale: Annotated[int, typer.Option(min=2, help='HR size over LR size.')],
    variants: Annotated[int, typer.Option(min=1, help='LR images of each HR image; more can be added later.')] = 1,
    seed: Annotated[int, typer.Option(min=0, help='A different seed gives different LR images.')] = 0,
    strengths: Annotated[Path | None, typer.Option(metavar='FILE.yml', help='Strengths, with keys of vapsr_arch/data/degrade.yml;'
                                                                            ' those left out are as there.')] = None,
    cut_hr: Annotated[bool, typer.Option('--cut-hr', help='Crop HR to a multiple of the scale and write that to OUT_DIR/HR, '
                                                          'for training.')] = False,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Make LR images as cameras and web sites do: blur, a random downscale, noise, JPEG. Same arguments, same bytes.

    A variant is a folder with the HR images' names: OUT_DIR/X4_v1/NAME.png, OUT_DIR/X4_v2/NAME.png and so on. Each pairs with
    OUT_DIR/HR, as folders or as packs (`vapsr data pack OUT_DIR/X4_v1 X4_v1.pack`), of which dataroot_lq takes a list.
    """
    from vapsr_arch.data.degrade import make_degraded
    from vapsr_arch.data.degrade_strengths import load_strengths
    make_degraded(hr_dirs, out_dir, scale, variants, seed, load_strengths(strengths), cut_hr, workers, force)


@app.command()
def subimages(
    in_dirs: InDirs,
    out_dir: OutDir,
    size: Annotated[int, typer.Option(min=1, help='Width and height in pixels.')] = 480,
    step: Annotated[int, typer.Option(min=1, help='Pixels between the starts of neighbours.')] = 240,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Crop images to overlapping sub-images: OUT_DIR/NAME_s001.png and so on. For LR images divide size and step by the scale."""
    from vapsr_arch.data.subimages import make_subimages
    make_subimages(in_dirs, out_dir, size, step, workers, force)


@app.command()
def lmdb(
    in_dirs: InDirs,
    out: Annotated[Path, typer.Argument(metavar='OUT.lmdb', help='Kept if it holds these images already.')],
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Put images into an LMDB that BasicSR reads (io_backend: lmdb)."""
    from vapsr_arch.data.lmdb_store import make_lmdb
    make_lmdb(in_dirs, out, workers, force)


@app.command()
def pack(
    in_dirs: InDirs,
    out: Annotated[Path, typer.Argument(metavar='OUT.pack', help='Kept if it holds these images already.')],
    scale: Annotated[int | None, typer.Option(min=2, help='The images are HR: crop them to a multiple of this, and make '
                                                          'OUT_X4.pack (for 4) of their LR images too.')] = None,
    border: Border = 'symmetric',
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Put decoded pixels into one file, for type: PairedPackDataset. Takes 3 bytes a pixel."""
    from vapsr_arch.data.packing import make_pack
    make_pack(in_dirs, out, scale, border, workers, force)


@app.command()
def check(
    opt: Annotated[Path | None, typer.Option('-opt', '--opt', metavar='FILE', help="Check an option file's sets.")] = None,
    gt: Annotated[str | None, typer.Option(metavar='DIR', help='HR images: a folder, an LMDB or a pack.')] = None,
    lq: Annotated[str | None, typer.Option(metavar='DIR', help='LR images.')] = None,
    scale: Annotated[int | None, typer.Option(min=1, help='HR size over LR size.')] = None,
    gt_size: Annotated[int | None, typer.Option(min=1, metavar='N', help='Of the crops that training is to take: HR must hold '
                                                                         'one and be a multiple of the scale.')] = None,
    test: Annotated[list[str] | None, typer.Option(metavar='DIR', help='HR images of a test set, which must not be among '
                                                                       '--gt, whole or in part; may be given again.')] = None,
    filename_tmpl: Annotated[str, typer.Option(metavar='TEMPLATE', help="LR names, '{}x4' for DIV2K's.")] = '{}',
    workers: Workers = None,
) -> None:
    """Open every pair and list all faults. Exit code 1 if there are any.

    Of train images that are in a test set, whole or as crops, exact copies are found, not turned or resized ones.
    """
    from vapsr_arch.data.check import PairedSet, find_faults, sets_of_options
    by_options = opt is not None and (gt, lq, scale, gt_size) == (None, None, None, None)
    by_folders = opt is None and None not in (gt, lq, scale)
    if not (by_options or by_folders):
        raise OptionsError('give either -opt FILE, or --gt DIR, --lq DIR and --scale N, with --gt-size N for training')
    sets = sets_of_options(opt) if opt else [PairedSet('--gt', gt, (lq,), scale, True, gt_size, filename_tmpl)]
    sets += [PairedSet('--test', root, (), 1, is_train=False) for root in test or []]
    count, faults = find_faults(sets, workers)
    print('\n'.join([*faults, f'{count} HR images checked, {len(faults) or "no"} fault{"s"[len(faults) == 1:]}']))
    if faults:
        raise typer.Exit(VapsrError.exit_code)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar='SET', help='Set5, Set14, B100, Urban100, DIV2K, Flickr2K.')],
    out: Annotated[Path, typer.Option(metavar='DIR', help='The folder of all sets; archives go to DIR/archives, or are '
                                                              'put there by hand.')] = Path('datasets'),
    mirror: Annotated[str | None, typer.Option(metavar='URL', help='Take the archives from URL/FILE instead.')] = None,
    force: Force = False,
) -> None:
    """Download public sets and unpack them; continues where it was stopped."""
    from vapsr_arch.data.public_sets import fetch as run
    run(names, out, mirror, force)
