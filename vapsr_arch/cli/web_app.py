"""`vapsr app`."""

import importlib.util
from typing import Annotated, Literal

import typer

from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import keep_freed_memory


def web_app(
    weights: Annotated[list[str] | None, typer.Option(metavar='NAME|FILE', show_default=False, help='Offer these weights beside '
                                                      'the shipped ones, and first; as for vapsr upscale; may be given again.')
                       ] = None,
    max_megapixels: Annotated[float, typer.Option(min=0.001, metavar='N', help='Refuse larger images.')] = 16,
    device: Annotated[Literal['auto', 'cpu', 'cuda', 'mps'], typer.Option(help='Where to run, as for vapsr upscale.')] = 'auto',
    host: Annotated[str, typer.Option(metavar='ADDRESS', help='Where the page is served: by default to this machine alone; '
                                      '0.0.0.0 serves it to others, without a password.')] = '127.0.0.1',
    port: Annotated[int, typer.Option(min=0, max=65535, metavar='N', help='The port; 0 for any that is free.')] = 7860,
) -> None:
    """Serve a page that upscales images: drop them, compare before and after, download the results.

    Nothing is sent to other machines. Uploads and results are removed at the end.
    """
    if importlib.util.find_spec('gradio') is None:
        raise VapsrError('vapsr app needs Gradio: install this package with the extra [app], as in `pip install '
                         "--no-build-isolation -c constraints.txt '.[app]'`")
    keep_freed_memory()
    from vapsr_arch.app.serving import serve
    serve(weights or (), host, port, max_megapixels, device)
