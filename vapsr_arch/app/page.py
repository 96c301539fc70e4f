"""The page, built with Gradio: what is on it, and what happens when something is clicked."""

import html
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads both when it is imported
os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
import gradio as gr

from vapsr_arch.app.offered import OfferedWeights
from vapsr_arch.app.upscaling import Upscaled, sentence, upscale_upload
from vapsr_arch.data.image_formats import SUFFIXES

_FONTS = ('system-ui', 'sans-serif'), ('ui-monospace', 'monospace')  # the reader's own: none is loaded from anywhere
THEME = gr.themes.Default(primary_hue='teal', secondary_hue='teal', neutral_hue='slate', font=_FONTS[0], font_mono=_FONTS[1])
CSS = (Path(__file__).parent / 'page.css').read_text(encoding='utf-8')
_CLEANING, _KEPT = 600, 6 * 3600  # seconds: how often uploads are looked at, and how old they may get while the page is served
_FORMATS = 'PNG, JPEG, WebP, TIFF, BMP or AVIF'


class Results(NamedTuple):
    """What a session has got, which is removed when it upscales again or some time after its page was closed."""

    folder: Path
    images: tuple[Upscaled, ...] = ()


class _Cancelled(Exception):
    """The work was cancelled by its user."""


class Jobs:
    """Upscales what sessions ask for, one image at a time.

    Args:
        offered: The weights.
        folder: Where results go.
        max_megapixels: As for `upscale_upload`.
    """

    def __init__(self, offered: OfferedWeights, folder: Path, max_megapixels: float) -> None:
        self._offered, self._folder, self._max_megapixels = offered, folder, max_megapixels
        self._cancelled: dict[str, threading.Event] = {}
        self._working = threading.Lock()  # Gradio counts a cancelled job as done while its last tile is still computed

    def upscale(self, files: Sequence[str] | None, scale: int, weights: str, previous: Results | None, request: gr.Request,
                progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008 (Gradio looks for it here)
        """Upscales a session's images; after each one gives the page what it is to show, in the order of `_shown`."""
        remove(previous)
        cancelled = self._cancelled[request.session_hash] = threading.Event()
        results, faults = Results(Path(tempfile.mkdtemp(dir=self._folder))), []
        yield _shown(results, faults, '' if files else 'Choose an image first.')
        for number, file in enumerate(map(Path, files or ()), start=1):
            def show(share: float, file: Path = file, number: int = number) -> None:
                if cancelled.is_set():
                    raise _Cancelled
                progress((number - 1 + share) / len(files), f'{number} of {len(files)}: {file.name}')

            try:
                with self._working:
                    show(0)
                    name, upscaler = self._offered.chosen(scale, weights, file)
                    upscaled = upscale_upload(file, name, upscaler, results.folder, self._max_megapixels, show)
                results = results._replace(images=(*results.images, upscaled))
            except _Cancelled:
                yield _shown(results, faults, 'Cancelled.')
                return
            except Exception as error:  # one image's failure must not stop the others
                faults.append(sentence(error, file))
            yield _shown(results, faults)

    def cancel(self, results: Results | None, request: gr.Request) -> tuple[str, str]:
        """Ends a session's work with the tile that is being computed; gives what to show for progress and status."""
        self.leave(request)
        return '', _lines([image.facts for image in results.images] if results else [], [], 'Cancelled.')

    def leave(self, request: gr.Request) -> None:
        """Ends the work of a session whose page was closed."""
        if cancelled := self._cancelled.pop(request.session_hash, None):
            cancelled.set()

    def stop(self) -> None:
        """Ends all work."""
        for cancelled in self._cancelled.values():
            cancelled.set()


def remove(results: Results | None) -> None:
    """Removes the files of a session."""
    if results:
        shutil.rmtree(results.folder, ignore_errors=True)


def make_page(offered: OfferedWeights, jobs: Jobs, max_megapixels: float) -> gr.Blocks:
    """Builds the page.

    Args:
        offered: The weights to choose from.
        jobs: What works for all sessions.
        max_megapixels: What is said of the size of images.
    """
    scale, name = offered.first
    with gr.Blocks(title='VapSR', analytics_enabled=False, delete_cache=(_CLEANING, _KEPT)) as page:
        results = gr.State(delete_callback=remove)
        gr.HTML('<h1>VapSR</h1><p>Images are upscaled on the computer that serves this page and are sent nowhere else; their '
                'files are removed some time after the page is closed.</p>', elem_id='head')
        with gr.Row(elem_id='all'):
            with gr.Column(scale=2, min_width=300):
                files = gr.File(label='Images', file_count='multiple', file_types=sorted(SUFFIXES), height=190, elem_id='files')
                gr.HTML(f'<p>{_FORMATS}; up to {max_megapixels:g} megapixels each.</p>', elem_classes='note')
                scales = gr.Radio([(f'x{each}', each) for each in offered.scales], value=scale, label='Scale')
                names = gr.Dropdown(_choices(offered, scale), value=name, label='Weights')
                with gr.Row(elem_id='buttons'):
                    start = gr.Button('Upscale', variant='primary', min_width=120, elem_id='start')
                    stop = gr.Button('Cancel', min_width=120, elem_id='stop')
                doing = gr.HTML(elem_id='doing', min_height=64)
                status = gr.HTML(elem_id='status')
            with gr.Column(scale=5, min_width=300):
                slider = gr.ImageSlider(label='Bicubic before, result after', interactive=False, max_height=640,
                                        buttons=['fullscreen'], format='png', elem_id='slider')
                which = gr.Dropdown(label='Image in the slider', visible=False, elem_id='which')
                downloads = gr.File(label='Results: PNG, full size', file_count='multiple', interactive=False, visible=False,
                                    elem_id='downloads')
        scales.change(lambda scale: gr.Dropdown(_choices(offered, scale), value=offered.names(scale)[0]), scales, names,
                      api_visibility='private', queue=False)
        work = start.click(jobs.upscale, [files, scales, names, results], [doing, status, slider, which, downloads, results],
                           concurrency_limit=1, api_visibility='private', show_progress_on=doing)
        stop.click(jobs.cancel, results, [doing, status], cancels=[work], api_visibility='private', queue=False,
                   show_progress='hidden')
        which.input(lambda results, index: (results.images[index].before, results.images[index].after), [results, which], slider,
                    api_visibility='private', queue=False)
        page.unload(jobs.leave)
    return page


def _choices(offered: OfferedWeights, scale: int) -> list[tuple[str, str]]:
    return [(name, name) for name in offered.names(scale)]


def _shown(results: Results, faults: Sequence[str], end: str = '') -> tuple[Any, ...]:
    """What the page is to show: nothing beside the progress, then status, slider, choice of its image, downloads, results."""
    images = results.images
    last = images[-1] if images else None
    names = [(image.result.name, index) for index, image in enumerate(images)]
    return ('', _lines([image.facts for image in images], faults, end),
            (last.before, last.after) if last else None,
            gr.Dropdown(names, value=len(images) - 1 if images else None, visible=len(images) > 1),
            gr.File([str(image.result) for image in images] or None, visible=bool(images)),
            results)


def _lines(facts: Sequence[str], faults: Sequence[str], end: str) -> str:
    lines = [f'<p class="{kind}">{html.escape(line)}</p>'
             for kind, texts in (('fault', faults), ('fact', facts), ('end', [end] if end else [])) for line in texts]
    return ''.join(lines)
