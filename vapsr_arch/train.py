"""`torchrun -m vapsr_arch.train -opt FILE --launcher pytorch`: `vapsr train`, for each process that torchrun starts."""

import sys

from vapsr_arch.cli import main

if __name__ == '__main__':
    main(['train', *sys.argv[1:]])
