"""`vapsr weights`."""

from pathlib import Path
from typing import Annotated

import typer

from vapsr_arch.cli.network_options import OptFile, ParamKey
from vapsr_arch.cli.pipeline_options import Plugins

app = typer.Typer(no_args_is_help=True, help="Checkpoints: the authors' of VapSR, IMDN, RFDN, BSRN and PAN; any as a safe file.")


@app.command('list')
def list_() -> None:
    """List the checkpoints: name, licence, address."""
    from vapsr_arch.weights.authors import CHECKPOINTS
    for name, checkpoint in CHECKPOINTS.items():
        print(f'{name:<12}{checkpoint.licence:<14}{checkpoint.source.url}')


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar='NAME', help='As `vapsr weights list` names them.')],
    out: Annotated[Path, typer.Option(metavar='DIR', help='Where they go.')] = Path('experiments/pretrained_models'),
    mirror: Annotated[str | None, typer.Option(metavar='URL', help='Take the files from URL/FILE instead.')] = None,
) -> None:
    """Download checkpoints; the sha256 is checked before a file gets its name. Shows each one's licence."""
    from vapsr_arch.weights.authors import get_weights
    get_weights(names, out, mirror)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar='IN', help='A checkpoint: .pth or .safetensors.')],
    out: Annotated[Path, typer.Argument(metavar='OUT', help='The file to write: .safetensors, or .pth with the key params.')],
    param_key: ParamKey = None,
    opt: OptFile = None,
    plugin: Plugins = None,
    force: Annotated[bool, typer.Option('--force', help='Overwrite OUT.')] = False,
) -> None:
    """Write a checkpoint's weights alone, the EMA's if it has them; .safetensors cannot run code when loaded."""
    network = None
    if opt or plugin:
        from vapsr_arch.pipeline.loading import name_network
        network = name_network(source, opt, plugins=plugin or (), param_key=param_key)
    from vapsr_arch.weights.convert import convert
    print(convert(source, out, force, param_key, network))
