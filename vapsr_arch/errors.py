"""Errors that are for the reader: one sentence with what is wrong, where, and what to do."""

from collections.abc import Sequence


class VapsrError(Exception):
    """Bad input or an impossible request. Commands print its text alone and end with `exit_code`."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        if text.startswith('Caught '):  # torch re-raises a DataLoader worker's error with the worker's traceback as text
            text = text.rpartition(f'{type(self).__name__}: ')[2].strip()
        return text


class OptionsError(VapsrError):
    """A fault in an option file or on the command line."""

    exit_code = 2


def raise_faults(faults: Sequence[VapsrError], count: int) -> None:
    """Raises one error that names all faults, if there are any, among `count` images."""
    if faults:
        others = ', the others are done' if len(faults) < count else ''
        raise VapsrError('\n  '.join([f'{len(faults)} of {count} images failed{others}:', *map(str, faults)]))
