"""`python -m vapsr_arch.test -opt FILE`: the same as `vapsr test`."""

import sys

from vapsr_arch.cli import main

if __name__ == '__main__':
    main(['test', *sys.argv[1:]])
