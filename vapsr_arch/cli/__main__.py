"""`python -m vapsr_arch.cli` is `vapsr`."""

from vapsr_arch.cli import main

if __name__ == '__main__':
    main()
