"""The page served over HTTP, until Ctrl-C: for `vapsr app`, and for a Hugging Face Space."""

import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import fastapi
import uvicorn

from vapsr_arch.app.offered import OfferedWeights
from vapsr_arch.errors import VapsrError

MAX_MEGAPIXELS = 16.0
PORT = 7860  # Gradio's, which a Space's must be
_BYTES_A_PIXEL = 8  # of an upload: 16 bits of RGB and alpha, not compressed
_FILE_BYTES = 2**20  # beside the pixels
_GRACE = 2  # seconds that open connections get at the end


@contextlib.contextmanager
def served_page(weights: Sequence[str] = (), max_megapixels: float = MAX_MEGAPIXELS,
                device: str = 'auto') -> Iterator[fastapi.FastAPI]:
    """The page as a server application; its folder of files is removed at the end.

    Args:
        weights: Names or files of weights that are offered beside the shipped ones.
        max_megapixels: The size up to which images are taken.
        device: Where to run, as for `Upscaler`.

    Raises:
        VapsrError: Weights cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix='vapsr-app-', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = os.path.realpath(folder)  # uploads go there
        import gradio as gr

        from vapsr_arch.app.page import CSS, THEME, Jobs, make_page
        results = Path(os.path.realpath(folder), 'results')
        results.mkdir()
        gr.set_static_paths([results])  # else each file would be copied before it is sent
        offered = OfferedWeights(weights, device, log=lambda message: print(message, file=sys.stderr))
        jobs = Jobs(offered, results, max_megapixels)
        size = int(max_megapixels * 1e6) * _BYTES_A_PIXEL + _FILE_BYTES
        try:
            yield gr.mount_gradio_app(
                fastapi.FastAPI(openapi_url=None), make_page(offered, jobs, max_megapixels), path='', theme=THEME, css=CSS,
                max_file_size=size, footer_links=[], run_history=False, pwa=False, ssr_mode=False, mcp_server=False,
                enable_monitoring=False)
        finally:
            jobs.stop()


def serve(weights: Sequence[str] = (), host: str = '127.0.0.1', port: int = PORT, max_megapixels: float = MAX_MEGAPIXELS,
          device: str = 'auto') -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
        weights, max_megapixels, device: As for `served_page`.
        host: The address to listen at; 0.0.0.0 for other machines, too.
        port: The port; 0 for any that is free.

    Raises:
        VapsrError: Weights cannot be loaded, or the address is in use.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(' (while')[0]  # Python adds the address
        raise VapsrError(f'the page cannot be served at {host}, port {port} ({reason}): take another --port or --host') from None
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that files are removed
    with listening, served_page(weights, max_megapixels, device) as page, contextlib.suppress(KeyboardInterrupt):
        name = f'[{host}]' if ':' in host else host
        print(f'http://{name}:{listening.getsockname()[1]} shows the page; Ctrl-C ends it', flush=True)
        config = uvicorn.Config(page, log_level='warning', timeout_graceful_shutdown=_GRACE)
        uvicorn.Server(config).run(sockets=[listening])
