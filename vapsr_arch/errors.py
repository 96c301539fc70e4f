"""Errors that are for the reader: one sentence with what is wrong, where, and what to do."""


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
