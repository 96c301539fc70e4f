"""`python -m tests.app.screenshot FILE.jpg [WIDTH HEIGHT]`: the page with a part of one of the demo's photographs, upscaled."""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.app.browser import Browser
from tests.app.running import running

PART = 190, 60, 190 + 200, 60 + 150  # of chelsea.png: left, top, right, bottom


def main(out: Path, width: int = 1400, height: int = 900) -> None:
    """Writes the screenshot."""
    import skimage
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, running() as page:
        photograph = Path(folder, 'chelsea.png')
        Image.open(Path(skimage.__file__).parent / 'data/chelsea.png').convert('RGB').crop(PART).save(photograph)
        browser = Browser(shutil.which('chromium') or 'chromium', Path(folder, 'profile'), Path(folder))
        browser.open(f'http://{page.host}')
        browser.wait("document.querySelector('#files input[type=file]')")
        browser.choose('#files input[type=file]', photograph)
        browser.wait("document.querySelector('#files .file')")
        browser.click('#start')
        browser.wait("document.querySelector('#status .fact') && "
                     "[...document.querySelectorAll('#slider img')].filter(image => image.naturalWidth).length == 2 && "
                     "document.querySelector('#doing .hide')")
        browser.screenshot(out, width, height)
        browser.close()


if __name__ == '__main__':
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
