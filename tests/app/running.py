"""The page served by this process, for a browser."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    """Where a page is served, as `host:port`, and the folder of its files."""

    host: str
    folder: Path


@contextlib.contextmanager
def running(weights: Sequence[str] = (), max_megapixels: float = 16) -> Iterator[Running]:
    """Serves the page, as for `served_page`, at a free port."""
    import uvicorn

    from vapsr_arch.app.serving import served_page
    environment = dict(os.environ)
    try:
        with socket.create_server(('127.0.0.1', 0)) as listening, served_page(weights, max_megapixels, 'cpu') as page:
            server = uvicorn.Server(uvicorn.Config(page, log_level='warning', timeout_graceful_shutdown=1))
            thread = threading.Thread(target=server.run, kwargs={'sockets': [listening]})
            thread.start()
            try:
                yield Running(f'127.0.0.1:{listening.getsockname()[1]}', Path(os.environ['GRADIO_TEMP_DIR']))
            finally:
                server.should_exit = True
                thread.join()
    finally:
        os.environ.clear()
        os.environ.update(environment)
