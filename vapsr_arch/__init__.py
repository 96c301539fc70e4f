"""VapSR as a BasicSR plugin. Importing this package imports neither torch nor BasicSR; `vapsr_arch.plugin` does."""

__version__ = '0.1.0'
