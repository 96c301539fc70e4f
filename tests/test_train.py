"""What training and its like set up before anything else."""

import platform
import subprocess
import sys

import pytest

RESIDENT = """
import contextlib

def resident():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmRSS'))

{call}
before = resident()
block = b'x' * 2**26
del block
print(resident() - before)
"""
CALLS = {
    'nothing': '',
    'memory': 'from vapsr_arch.memory import keep_freed_memory; keep_freed_memory()',
    'a test': 'from vapsr_arch.errors import VapsrError; from vapsr_arch.pipeline.running import test\n'
              'with contextlib.suppress(VapsrError): test("none.yml")',
    'a latency': 'from torch import nn; from vapsr_arch.report import cost; cost.latency(nn.Conv2d(3, 3, 3), (8, 9), repeats=1)'}


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='not glibc')
@pytest.mark.parametrize('call', CALLS)
def test_freed_memory_stays(call: str) -> None:
    child = subprocess.run([sys.executable, '-c', RESIDENT.format(call=CALLS[call])], check=True, capture_output=True, text=True)
    assert (int(child.stdout.split()[-1]) > 2**15) == (call != 'nothing')  # of the 2^16 KiB
