"""Decoding images in another process, for a process that was forked from one in which libvips has threads.

libvips believes that it has these threads in the fork too, and waits for them for ever. The processes that load training images
are such forks; PNG, which OpenCV decodes for them, does not come here.
"""

import os
import pickle
import subprocess
import sys
from typing import ClassVar

import numpy as np

from vapsr_arch.errors import VapsrError

_CODE = 'import sys; sys.path[:] = filter(None, sys.path); from vapsr_arch.data.image_process import serve; serve()'


def serve() -> None:
    """Decodes what comes over standard input, pickled pairs of a name and a file's bytes, until that ends."""
    from vapsr_arch.data.image_files import read_image
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # nothing else may write between the answers
    while True:
        try:
            name, content = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = read_image(name, content).pixels
        except VapsrError as error:
            answer = str(error)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


class ImageProcess:
    """The other process of this one, which it starts when it is first needed; it ends with this one."""

    _own: ClassVar['tuple[int, ImageProcess] | None'] = None  # with the number of the process that it was started by

    def __init__(self) -> None:
        here = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        self._process = subprocess.Popen([sys.executable, '-c', _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         env={**os.environ, 'PYTHONPATH': here})

    @classmethod
    def of_this_process(cls) -> 'ImageProcess':
        if cls._own is None or cls._own[0] != os.getpid():
            cls._own = os.getpid(), cls()
        return cls._own[1]

    def read(self, name: str | os.PathLike, content: bytes) -> np.ndarray:
        """The pixels that `read_image` gives.

        Raises:
            VapsrError: As `read_image` does, or the other process has ended.
        """
        try:
            pickle.dump((os.fspath(name), content), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError):
            ImageProcess._own = None
            raise VapsrError(f'{name} cannot be read: the process that decodes it has ended, with exit code '
                             f'{self._process.wait()}') from None
        if isinstance(answer, str):
            raise VapsrError(answer)
        return answer
