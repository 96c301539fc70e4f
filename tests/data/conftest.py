"""Images, reference material, the command line and a server on loopback."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from vapsr_arch.cli import main


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of four images of different sizes and kinds."""
    folder = tmp_path / 'HR'
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, shape, dtype in (('a', (64, 48, 3), np.uint8), ('b', (49, 66, 3), np.uint8), ('c', (48, 48), np.uint8),
                               ('d', (50, 60, 3), np.uint16)):
        cv2.imwrite(str(folder / f'{name}.png'), random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True))
    return folder


@pytest.fixture
def vapsr_output(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Runs the command line here; gives the exit code and what it printed."""
    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return end.value.code or 0, output.out + output.err
    return run


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` with ranges; keeps the Range headers; breaks off after `server.limit` bytes, once."""

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.rpartition('/')[2])
        if content is None:
            return self.send_error(404)
        asked = self.headers.get('Range')
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.headers.get('If-Range') == self.server.etag else 0
        if asked and start >= len(content):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(content)}')
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('ETag', self.server.etag)
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        limit, self.server.limit = self.server.limit, None
        self.wfile.write(content[start:][:limit])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.ranges, server.limit, server.etag = {}, [], None, '"1"'
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
