"""`python -m vapsr_arch` is `vapsr`."""

from vapsr_arch.cli import main

if __name__ == '__main__':
    main()
