"""The `vapsr` command. Modules here import nothing heavy, so that `vapsr --help` answers at once."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vapsr_arch import __version__
from vapsr_arch.cli import data, options, weights
from vapsr_arch.cli.benchmark import RowCommand, benchmark
from vapsr_arch.cli.export import export
from vapsr_arch.cli.pipeline_options import SETTINGS
from vapsr_arch.cli.test import test
from vapsr_arch.cli.train import train
from vapsr_arch.cli.upscale import upscale
from vapsr_arch.cli.web_app import web_app
from vapsr_arch.errors import VapsrError

_SHARED_LIBRARY = re.compile(r'(\S+): cannot open shared object file')  # as Linux says it
_OF_OPENCV = 'libgl1 libglib2.0-0 libxcb1'  # which images of containers often lack
_HOME = re.compile(r'(--[\w-]+=)?(~.*)', re.DOTALL)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help='VapSR: efficient image super-resolution through BasicSR.')
app.command(context_settings=SETTINGS)(train)
app.command(context_settings=SETTINGS)(test)
app.command(cls=RowCommand)(benchmark)
app.command()(upscale)
app.command()(export)
app.command('app')(web_app)
app.add_typer(data.app, name='data')
app.add_typer(options.app, name='options')
app.add_typer(weights.app, name='weights')


def _print_version(asked: bool) -> None:
    if asked:
        print(f'vapsr {__version__}')
        raise typer.Exit


@app.callback()
def _common(version: Annotated[bool, typer.Option('--version', callback=_print_version, is_eager=True,
                                                  help='Print the version.')] = False) -> None:
    pass


def _with_home(argument: str) -> str:
    """An argument whose value may begin with `~`, as shells leave it in `--out=~/x` and within quotation marks."""
    found = _HOME.fullmatch(argument)
    return (found[1] or '') + os.path.expanduser(found[2]) if found else argument


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, 1 for bad input, 2 for faults in options or arguments.

    Args:
        arguments: The arguments after the program's name; None for the process's own.
    """
    try:
        app([_with_home(argument) for argument in (sys.argv[1:] if arguments is None else arguments)], prog_name='vapsr')
    except VapsrError as error:
        print(f'Error: {error}', file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        name = error.filename2 if full and error.filename2 else error.filename  # a copy is what there is no room for
        print(f'Error: {name}: {error.strerror}', file=sys.stderr)
        sys.exit(VapsrError.exit_code)
    except ImportError as error:
        if not (missing := _SHARED_LIBRARY.match(str(error))):
            raise
        print(f'Error: this system has no {missing[1]}, which an installed package needs; what OpenCV needs comes, on Debian and '
              f'Ubuntu, with: apt-get install {_OF_OPENCV}', file=sys.stderr)
        sys.exit(VapsrError.exit_code)
