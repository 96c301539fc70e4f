"""Chromium driven over a pipe (the DevTools protocol): pages, files for inputs, downloads, requests, complaints."""

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
          '--disable-component-update', '--disable-sync', '--remote-debugging-pipe')
_PATIENCE = 300  # seconds for anything: tests run side by side


class Browser:
    """A Chromium with one page.

    Args:
        chromium: Its program.
        profile: A folder for its profile.
        downloads: The folder that downloads go to.

    Attributes:
        requests: The addresses that the page has asked for.
        complaints: What was logged as an error, and exceptions that nothing caught.
        downloads: Finished downloads, by name.
    """

    def __init__(self, chromium: str, profile: Path, downloads: Path) -> None:
        read, write = os.pipe(), os.pipe()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.downloads: list[str] = []
        self._to, self._from = read[1], write[0]

        def as_three_and_four() -> None:
            ends = os.dup(read[0]), os.dup(write[1])  # whatever numbers the pipes have
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [chromium, *_FLAGS, f'--user-data-dir={profile}', 'about:blank'], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=as_three_and_four, close_fds=False)
        os.close(read[0])
        os.close(write[1])
        self._rest, self._number, self._session, self._names = b'', 0, None, {}
        pages = [page for page in self.call('Target.getTargets')['targetInfos'] if page['type'] == 'page']
        self._session = self.call('Target.attachToTarget', targetId=pages[0]['targetId'], flatten=True)['sessionId']
        for domain in ('Network', 'Runtime', 'Log', 'Page', 'DOM'):
            self.call(f'{domain}.enable')
        self.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(downloads), eventsEnabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol, and gives its result."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': parameters}
        if self._session and not method.startswith(('Target.', 'Browser.')):
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(end)
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def open(self, url: str) -> None:
        """Opens a page."""
        self.call('Page.navigate', url=url)

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript on the page; of a promise, what it is resolved to."""
        result = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def wait(self, script: str) -> Any:
        """Waits until an expression is true on the page; its value. The page itself looks, at every frame."""
        looking = (f'new Promise(done => {{ const look = () => {{ const value = {script}; '
                   f'value ? done(value) : setTimeout(look, 20); }}; look(); }})')
        return self.run(looking)

    def click(self, selector: str) -> None:
        """Clicks an element as soon as it is there: Gradio draws its elements again now and then."""
        self.wait(f'(found => found && (found.click(), true))(document.querySelector({selector!r}))')

    def wait_for(self, happened: Callable[[], Any]) -> None:
        """Reads events until something has happened."""
        end = time.monotonic() + _PATIENCE
        while not happened():
            self._next(end)

    def choose(self, selector: str, *files: Path) -> None:
        """Gives files to an input of the page."""
        document = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=document, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(file) for file in files])

    def screenshot(self, path: Path, width: int, height: int) -> None:
        """Writes what a window of a size shows, as JPEG."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.run('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
        path.write_bytes(base64.b64decode(self.call('Page.captureScreenshot', format='jpeg', quality=85)['data']))

    def foreign_requests(self, host: str) -> list[str]:
        """The addresses asked for that are of another host."""
        return [url for url in self.requests if urlsplit(url).scheme not in ('data', 'blob') and urlsplit(url).netloc != host]

    def close(self) -> None:
        """Ends the browser."""
        self.call('Browser.close')
        os.close(self._to)
        os.close(self._from)
        self._process.wait(_PATIENCE)

    def _next(self, end: float) -> dict[str, Any]:
        while b'\0' not in self._rest:
            assert select.select([self._from], [], [], max(0, end - time.monotonic()))[0], 'Chromium does not answer'
            more = os.read(self._from, 2**20)
            assert more, 'Chromium has ended'
            self._rest += more
        message, _, self._rest = self._rest.partition(b'\0')
        answer = json.loads(message)
        self._note(answer.get('method'), answer.get('params', {}))
        return answer

    def _note(self, event: str | None, about: dict[str, Any]) -> None:
        if event == 'Network.requestWillBeSent':
            self.requests.append(about['request']['url'])
        elif event == 'Runtime.exceptionThrown':
            self.complaints.append(json.dumps(about['exceptionDetails']))
        elif event == 'Runtime.consoleAPICalled' and about['type'] in ('error', 'assert'):
            self.complaints.append(json.dumps(about['args']))
        elif event == 'Log.entryAdded' and about['entry']['level'] == 'error':
            self.complaints.append(f'{about["entry"]["text"]} {about["entry"].get("url", "")}')
        elif event == 'Browser.downloadWillBegin':
            self._names[about['guid']] = about['suggestedFilename']
        elif event == 'Browser.downloadProgress' and about['state'] == 'completed':
            self.downloads.append(self._names[about['guid']])
