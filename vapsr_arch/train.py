"""`torchrun -m vapsr_arch.train -opt FILE --launcher pytorch`: `vapsr train`, for each process that torchrun starts."""

import sys

from vapsr_arch.__main__ import run

if __name__ == '__main__':
    run(['train', *sys.argv[1:]])
