"""`python -m vapsr_arch.test -opt FILE`: the same as `vapsr test`."""

import sys

from vapsr_arch.__main__ import run

if __name__ == '__main__':
    run(['test', *sys.argv[1:]])
