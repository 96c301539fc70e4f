"""Processes that work beside this one: they import from where it does, and may die without it."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_child(code: str, arguments: Sequence[str | Path] = (), folder: str | Path | None = None, given: bytes | None = None
              ) -> subprocess.CompletedProcess:
    """Runs Python code in a process of its own, whose import path is this one's and nothing else.

    Args:
        code: The code.
        arguments: Its arguments.
        folder: The folder it works in; by default the current one.
        given: Its standard input.

    Returns:
        How it ended, with what it wrote, as bytes.
    """
    here = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    # Python puts the folder it works in first, which may hold a `basicsr` or a `networks` of others.
    return subprocess.run([sys.executable, '-c', f'import sys; sys.path[:] = filter(None, sys.path); {code}', *arguments],
                          cwd=folder, input=given, capture_output=True, env={**os.environ, 'PYTHONPATH': here})


def ending(child: subprocess.CompletedProcess) -> str:
    """Why a process failed: its own sentence, or the last line of a traceback, or the signal that ended it."""
    if child.returncode < 0:
        return f'the process was ended by {signal.Signals(-child.returncode).name}' \
            + (', for want of memory, it seems' if child.returncode == -signal.SIGKILL else '')
    lines = [line for line in child.stderr.decode(errors='replace').splitlines() if line.strip()]
    said = [line.removeprefix('Error: ') for line in lines if line.startswith('Error: ')] or lines[-1:]
    return said[0] if said else f'exit code {child.returncode}'
