"""What the fuzzers share: inputs with damaged bytes, and how the program took one."""

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from vapsr_arch.errors import VapsrError

LONGEST = 10  # seconds of the processor
MOST_MEMORY = 2**30  # bytes beyond the input's own
_CLEAR = Path('/proc/self/clear_refs')
_EDGES = (b'\0', b'\1', b'\x7f', b'\x80', b'\xff', b'\xff\xff\xff\x7f', b'\xff' * 8, b'\0' * 8, b'9' * 40)


class Outcome(NamedTuple):
    """How an input was taken.

    Attributes:
        kind: `success`, the name of VapsrError or one of its own, or of another exception.
        fault: What is wrong with that; None if nothing is.
        seconds: How long it kept the processor busy: what else the machine does is not counted.
        memory: Bytes of memory that the process took at most, beyond what it had before and the input's own.
    """

    kind: str
    fault: str | None
    seconds: float
    memory: int


@st.composite
def damaged(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """One of some files with up to four places changed, cut off or repeated."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        change = draw(st.sampled_from(('bit', 'bytes', 'edge', 'cut off', 'remove', 'repeat')))
        if change == 'bit' and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif change == 'bytes':
            new = draw(st.binary(min_size=1, max_size=8))
            content[place:place + len(new)] = new
        elif change == 'edge':
            new = draw(st.sampled_from(_EDGES))
            content[place:place + len(new)] = new
        elif change == 'cut off':
            del content[place:]
        elif change == 'remove':
            del content[place:place + draw(st.integers(1, 16))]
        elif change == 'repeat':
            content[place:place] = content[place:place + draw(st.integers(1, 64))]
    return bytes(content)


def _memory(name: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    return 0


def taken(function: Callable[[], object], size: int) -> Outcome:
    """Calls a function that reads an input of some bytes, and may raise a VapsrError alone.

    Twice the memory that it may take cannot be had: a MemoryError comes before the machine is full.
    """
    limits = resource.getrlimit(resource.RLIMIT_AS)
    _CLEAR.write_text('5')  # the peak begins at what there is now
    before, started = _memory('VmRSS'), time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (_memory('VmSize') + 2 * MOST_MEMORY + size, limits[1]))
    fault = None
    try:
        function()
        kind = 'success'
    except VapsrError as error:
        kind = type(error).__name__
        if not str(error).strip() or len(str(error)) > 100_000:
            fault = f'a message of {len(str(error))} characters'
    except Exception as error:  # what the fuzzers look for
        kind = type(error).__name__
        fault = f'{kind}: {str(error)[:300]}'
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    seconds, memory = time.process_time() - started, max(0, _memory('VmHWM') - before - size)
    if seconds > LONGEST:
        fault = fault or f'{seconds:.1f} s'
    if memory > MOST_MEMORY:
        fault = fault or f'{memory / 2**20:.0f} MiB'
    return Outcome(kind, fault, seconds, memory)
