"""The page in a browser: real uploads, results byte for byte, the slider, cancelling; nothing leaves the machine."""

import importlib.util
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.app.browser import Browser
from tests.app.running import running
from tests.conftest import Finished, absent, photograph
from vapsr_arch.data.image_files import ImageData, read_image
from vapsr_arch.data.image_writing import write_image
from vapsr_arch.inference.upscaler import Upscaler

LOADED = "document.querySelector('#files input[type=file]')"
FAULTS = "[...document.querySelectorAll('#status .fault')].map(line => line.textContent)"
FACTS = "[...document.querySelectorAll('#status .fact')].map(line => line.textContent)"
SLIDER = """[...document.querySelectorAll('#slider img')].filter(image => image.complete && image.naturalWidth)
            .map(image => image.naturalWidth + 'x' + image.naturalHeight)"""


class Served(NamedTuple):
    """A page that is served, its folder, and the hosts that this process has asked for or connected to since."""

    host: str
    folder: Path
    asked_for: list[str]


@pytest.fixture(scope='module')
def served(tiny_weights: Path) -> Iterator[Served]:
    if importlib.util.find_spec('gradio') is None:
        absent('gradio')
    asked_for: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == 'socket.getaddrinfo':
            asked_for.append(arguments[0])
        elif event == 'socket.connect' and arguments[0].family != socket.AF_UNIX:
            asked_for.append(arguments[1][0])

    sys.addaudithook(note)  # for ever, as hooks are
    with running([str(tiny_weights)], 0.01) as page:
        yield Served(page.host, page.folder, asked_for)
    assert not page.folder.exists()


@pytest.fixture
def browser(served: Served, chromium: str, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(chromium, tmp_path / 'profile', tmp_path)
    browser.open(f'http://{served.host}')
    browser.wait(LOADED)
    yield browser
    browser.close()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """A PNG of 16 bits, a JPEG that is to be turned, a text, and a PNG of too many pixels."""
    folder = tmp_path / 'images'
    write_image(folder / 'deep.png', 'png', ImageData(photograph(40, 60, 0).astype(np.uint16) * 257))
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Orientation] = 'somebody', 6
    Image.fromarray(photograph(32, 48, 1)).save(folder / 'turned.jpg', exif=exif)
    (folder / 'text.png').write_text('no image <b>at all</b>')
    write_image(folder / 'large.png', 'png', ImageData(photograph(101, 100, 2)))
    return [folder / name for name in ('deep.png', 'turned.jpg', 'text.png', 'large.png')]


def test_images_are_upscaled(served: Served, browser: Browser, images: list[Path], tiny_weights: Path, tmp_path: Path) -> None:
    browser.choose('#files input[type=file]', *images)
    browser.wait("document.querySelectorAll('#files .file').length == 4")
    browser.click('#start')
    assert browser.wait(f'{FAULTS}.length == 2 && {FAULTS}') == [
        'text.png is not an image, or of an unknown format',
        'large.png: 100x101 pixels are 0.0101 megapixels, and at most 0.01 are taken here: make it smaller, or use the command '
        'vapsr upscale']
    assert browser.run(FACTS) == ['deep.png: 60x40 to 120x80 pixels with tiny.pth',
                                  'turned.jpg: 32x48 to 64x96 pixels with tiny.pth']
    assert browser.wait(f'{SLIDER}.length == 2 && {SLIDER}') == ['64x96', '64x96']
    assert browser.run("getComputedStyle(document.querySelector('#which')).display") != 'none'

    upscale = Upscaler(tiny_weights)
    for number, (image, name) in enumerate(zip(images, ('deep_x2.png', 'turned_x2.png'))):
        browser.run(f"document.querySelectorAll('#downloads a')[{number}].click()")
        browser.wait_for(lambda name=name: name in browser.downloads)
        assert np.array_equal(read_image(tmp_path / name).pixels, upscale(read_image(image).pixels))
    assert read_image(tmp_path / 'turned_x2.png').exif[ExifTags.Base.Artist] == 'somebody'

    assert not browser.complaints
    assert len(browser.requests) > 10 and not browser.foreign_requests(served.host)
    assert set(served.asked_for) <= {'127.0.0.1', '::1', 'localhost'}


def test_cancelling(browser: Browser, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from vapsr_arch.app import page

    end_of_tile = threading.Event()

    def in_two_tiles(*arguments: Any) -> None:
        arguments[-1](0.5)
        end_of_tile.wait(300)
        arguments[-1](1)

    with monkeypatch.context() as patch:
        patch.setattr(page, 'upscale_upload', in_two_tiles)
        browser.choose('#files input[type=file]', images[0])
        browser.wait("document.querySelectorAll('#files .file').length == 1")
        browser.click('#start')
        browser.wait("document.querySelector('#doing').textContent.includes('1 of 1: deep.png')")
        browser.click('#stop')
        browser.wait("document.querySelector('#status').textContent.includes('Cancelled.')")
    end_of_tile.set()
    # The page takes clicks again shortly after that, and none while it is upscaling.
    browser.wait(f"{FACTS}.length == 1 || (document.querySelector('#start')?.click(), false)")
    assert not browser.complaints


def test_files_of_a_session_are_removed(served: Served, images: list[Path], tiny_weights: Path) -> None:
    from vapsr_arch.app.offered import OfferedWeights
    from vapsr_arch.app.page import Jobs

    class Request:
        session_hash = 'session'

    folder = served.folder / 'mine'
    folder.mkdir()
    jobs, previous = Jobs(OfferedWeights([str(tiny_weights)]), folder, 1), None
    for _ in range(2):
        *_, (*_, previous) = jobs.upscale([str(images[0])], 2, 'tiny.pth', previous, Request(), lambda share, text: None)
        assert sorted(path.name for path in folder.rglob('*.png')) == ['.deep_x2.after.png', '.deep_x2.before.png', 'deep_x2.png']
        assert len(list(folder.iterdir())) == 1


def test_without_gradio(vapsr: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *more: None if name == 'gradio' else find(name, *more))
    result = vapsr('app')
    assert (result.code, result.out) == (1, '')
    assert result.err == ('Error: vapsr app needs Gradio: install this package with the extra [app], as in `pip install '
                          "--no-build-isolation -c constraints.txt '.[app]'`\n")


def test_a_port_that_is_taken(served: Served, vapsr: Callable[..., Finished]) -> None:
    host, port = served.host.split(':')
    result = vapsr('app', '--port', port)
    assert result.code == 1
    assert result.err.startswith(f'Error: the page cannot be served at {host}, port {port} (Address already in use): take')
