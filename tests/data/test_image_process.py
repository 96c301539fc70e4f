"""Images that libvips decodes, in forks of a process that has used it, as the processes that load training images are."""

import multiprocessing

import cv2
import numpy as np
import pytest

from vapsr_arch.data.images import decode
from vapsr_arch.errors import VapsrError

PIXELS = np.arange(9 * 11 * 3, dtype=np.uint8).reshape(9, 11, 3)


def decoded(contents: list[tuple[str, bytes]]) -> list[np.ndarray | str]:
    results = []
    for name, content in contents:
        try:
            results.append(decode(content, name))
        except VapsrError as error:
            results.append(str(error))
    return results


@pytest.mark.parametrize('daemon', [False, True], ids=['process', 'loading process'])
def test_a_fork_decodes_what_its_parent_decodes(daemon: bool) -> None:
    whole = cv2.imencode('.tif', PIXELS)[1].tobytes()
    contents = [('a.tif', whole), ('cut off.tif', whole[:100]), ('a.webp', cv2.imencode('.webp', PIXELS)[1].tobytes()),
                ('a.tif', whole)]
    expected = decoded(contents)
    np.testing.assert_array_equal(expected[0], PIXELS)
    assert 'cut off.tif' in expected[1]
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(decoded(contents)), daemon=daemon)
    process.start()
    assert receiver.poll(60), 'it waits for threads that it does not have'
    for result, wanted in zip(receiver.recv(), expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    process.join()
    assert process.exitcode == 0
