"""A run's checkpoints and training states on disk: written whole, kept in pairs, found again."""

import io
import shutil
from pathlib import Path
from typing import Any

import torch

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import leftovers, written_whole
from vapsr_arch.models.training_state import fault_of_state
from vapsr_arch.weights.checkpoints import read_weights
from vapsr_arch.weights.torch_files import TorchFile, TorchFileFault

_START_AGAIN = 'to start again, leave --auto_resume out: the folder is then kept under another name'


def network_path(opt: dict[str, Any], label: int | str) -> Path:
    """The checkpoint of an iteration, or the `latest`, or a best one; under the names that BasicSR gives."""
    return Path(opt['path']['models'], f'net_g_{label}.pth')


def state_path(opt: dict[str, Any], iteration: int) -> Path:
    """The training state of an iteration."""
    return Path(opt['path']['training_states'], f'{iteration}.state')


def to_bytes(content: dict[str, Any]) -> bytes:
    """A checkpoint or a state as it lies in its file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The way back from `to_bytes`, to tensors on the CPU.

    Raises:
        TorchFileFault: The bytes are damaged, or none of a file.
    """
    return TorchFile(io.BytesIO(data)).everything()


def write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        VapsrError: It cannot be written.
    """
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise VapsrError(f'{path} cannot be written: {error.strerror}; what was saved before is whole: fix this and resume '
                         f'with --auto_resume') from None


def save_pair(opt: dict[str, Any], iteration: int, network: bytes, state: bytes, good: int) -> None:
    """Writes the checkpoint and the state of an iteration, and removes those that `logger.keep_last` does not keep.

    The pair of iteration `good`, which training that diverges goes back to, is kept in any case.

    A state that is there stands for a complete pair, whenever the process is killed: the state comes last, and one that
    an earlier run left for the same iteration goes first.

    Raises:
        VapsrError: A file cannot be written.
    """
    state_path(opt, iteration).unlink(missing_ok=True)
    write(network_path(opt, iteration), network)
    write(state_path(opt, iteration), state)
    keep = opt['logger'].get('keep_last')
    if keep:
        kept = {good, *sorted(number for number in _iterations(opt) if number <= iteration)[-keep:]}
        # A process that was killed between the two removals has left a checkpoint without a state.
        for number in {*_iterations(opt), *_numbers(Path(opt['path']['models']), 'net_g_', '.pth')} - kept:
            if number < iteration:
                state_path(opt, number).unlink(missing_ok=True)
                network_path(opt, number).unlink(missing_ok=True)


def _iterations(opt: dict[str, Any]) -> list[int]:
    """The iterations that have a state."""
    return _numbers(Path(opt['path']['training_states']), '', '.state')


def _numbers(folder: Path, prefix: str, suffix: str) -> list[int]:
    """The numbers in the names of a folder's files."""
    names = (path.name.removeprefix(prefix).removesuffix(suffix) for path in folder.glob(f'{prefix}*{suffix}'))
    return [int(name) for name in names if name.isdecimal()]


def read_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Reads a training state, and sees that the network saved with it can be loaded.

    Raises:
        VapsrError: One of the two is missing or damaged, or has weights that are not finite.
    """
    try:
        state = from_bytes(path.read_bytes())
    except OSError as error:
        raise VapsrError(f'{path}: the training state cannot be read: {error.strerror or error}') from None
    except (TorchFileFault, MemoryError) as fault:
        raise VapsrError(f'{path} is not a training state of BasicSR, or is damaged: {fault}') from None
    wrong = fault_of_state(state)
    if wrong:
        raise VapsrError(f'{path} is not a training state of BasicSR, or is damaged: {wrong}')
    iteration = state['iter']
    if 'network_g' not in opt['path'].get('ignore_resume_networks', []):
        network = network_path(opt, iteration)
        if not network.is_file():
            raise VapsrError(f'{path} cannot be resumed: the network saved with it, {network}, is missing')
        weights = read_weights(network, 'params').tensors
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise VapsrError(f'{path} cannot be resumed: the network saved with it, {network}, has weights that are not '
                             f'finite')
    return state


def newest_state(opt: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """The newest complete training state under the run's folder, with its content; None if there are no states.

    Prints which ones it skips, and why. Removes what a killed process left half-written.

    Raises:
        VapsrError: There are states, and not one is complete; or there are none of a run that has ended.
    """
    folder = Path(opt['path']['training_states'])
    report = print if opt['rank'] == 0 else lambda text: None
    if opt['rank'] == 0 and folder.parent.is_dir():
        for path in leftovers(folder.parent):
            path.unlink()
    for path in sorted(folder.glob('*.state')):
        if not path.stem.isdecimal():
            report(f'{path} is skipped: a state to resume from is named ITERATION.state')
    iterations = sorted(_iterations(opt), reverse=True)
    for iteration in iterations:
        path = state_path(opt, iteration)
        try:
            state = read_state(opt, path)
            if state['iter'] != iteration:
                raise VapsrError(f'it is of iteration {state["iter"]}')
            return path, state
        except VapsrError as error:
            report(f'{path} is skipped: {error}')
    if iterations:
        raise VapsrError(f'{folder}: not one of {len(iterations)} training states can be resumed; {_START_AGAIN}')
    latest = network_path(opt, 'latest')
    if latest.is_file():
        raise VapsrError(f'{latest} is of a run that has ended, and there is no training state to resume it from; {_START_AGAIN}')
    return None


def check_disk_space(opt: dict[str, Any], start: int, network: int, state: int) -> None:
    """Checks before the start that a run's checkpoints and states will fit on the disk.

    Images and logs are not counted.

    Args:
        opt: The options.
        start: Iterations done before.
        network: Bytes of a checkpoint.
        state: Bytes of a training state.

    Raises:
        VapsrError: They will not.
    """
    there = 0, 0  # a new run: an older folder of its name is archived, and takes no part
    if start:
        there = len(_iterations(opt)), len(list(Path(opt['path']['models']).glob('net_g_[bl]*.pth')))  # the best and the latest
    needed = bytes_to_come(opt, start, network, state, *there)
    folder = Path(opt['path']['experiments_root'])
    while not folder.is_dir():  # it is made when all else is checked
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise VapsrError(f'{opt["path"]["experiments_root"]}: {free / 1e6:,.0f} MB are free, but the checkpoints and states '
                         f'to come take {needed / 1e6:,.0f} MB: make room, raise logger.save_checkpoint_freq, or set '
                         f'logger.keep_last')


def bytes_to_come(opt: dict[str, Any], start: int, network: int, state: int, pairs_there: int = 0,
                  others_there: int = 0) -> int:
    """The most bytes by which a run grows from iteration `start` on.

    It writes pairs, of which `logger.keep_last` removes the oldest after the newest is written, the latest and the best
    checkpoints, each by way of a temporary file.

    Args:
        opt: The options.
        start: Iterations done before.
        network: Bytes of a checkpoint.
        state: Bytes of a training state.
        pairs_there: How many pairs there are.
        others_there: How many of the latest and the best checkpoints there are, which are written over.
    """
    every = opt['logger']['save_checkpoint_freq']
    pairs = -(-opt['train']['total_iter'] // every) - start // every  # one at the end in any case
    keep = opt['logger'].get('keep_last')
    if keep:
        pairs = min(pairs, keep + 1 - min(pairs_there, keep))
    validation_sets = sum(phase.startswith('val') for phase in opt['datasets'])
    best = validation_sets * len(opt.get('val', {}).get('metrics', {}))
    return pairs * (network + state) + max(0, 1 + best - others_there) * network + max(network, state)
