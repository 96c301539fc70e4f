"""What training sets up before anything else."""

import platform
import subprocess
import sys

import pytest

RESIDENT = """
from vapsr_arch.memory import keep_freed_memory
{call}
block = b'x' * 2**26
del block
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='not glibc')
def test_freed_memory_stays() -> None:
    freed, kept = (int(subprocess.run([sys.executable, '-c', RESIDENT.format(call=call)], check=True, capture_output=True,
                                      text=True).stdout) for call in ('', 'keep_freed_memory()'))
    assert kept - freed > 2**15  # of the 2^16 KiB
