"""Errors for running out of memory that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vapsr_arch.errors import VapsrError
from vapsr_arch.memory import is_of_a_gpu, is_out_of_memory


@contextmanager
def memory_explained(what: str, remedy: str) -> Iterator[None]:
    """Turns errors of a GPU or a CPU without memory into a sentence.

    Args:
        what: What was being done.
        remedy: What to do about it.

    Raises:
        VapsrError: There was not enough memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        device = 'the GPU' if is_of_a_gpu(error) else 'the machine'
        raise VapsrError(f'{device} has not enough memory for {what}: {remedy}') from None


def training_remedy(opt: dict[str, Any]) -> str:
    """What to do where training takes too much memory, with what the options have."""
    data, train = opt['datasets']['train'], opt['train']
    size = f'({data["gt_size"]})' if 'gt_size' in data else 'of the patches'  # third-party data sets may have another key
    return (f'lower batch_size_per_gpu ({data["batch_size_per_gpu"]}) or gt_size {size}, raise train.accumulate '
            f'({train.get("accumulate", 1)}), or on a GPU set train.amp ({train.get("amp", "off")}) to bf16')


@contextmanager
def killed_workers_explained() -> Iterator[None]:
    """Turns the errors of a DataLoader worker that has died into a sentence.

    They are torch's own, or, where it does not see yet that the worker is dead, those of the connection to it.

    Raises:
        VapsrError: One has died.
    """
    try:
        yield
    except (RuntimeError, ConnectionResetError, ConnectionRefusedError, EOFError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(('DataLoader worker', 'received 0 items')):
            raise
        raise VapsrError(f'a process that reads images was killed, perhaps because memory ran out ({error}): lower '
                         f'num_worker_per_gpu; --auto_resume resumes from the newest state') from None
