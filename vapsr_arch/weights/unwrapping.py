"""Where the weights are in a checkpoint's content: under which keys, and behind which prefixes of their names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vapsr_arch.weights.pickles import Made
from vapsr_arch.weights.stored_tensors import StoredTensor, StrangeTensor

# Keys and prefixes that projects put around a network's weights, without case and underscores; the first are taken first.
_WRAPPERS = ('params', 'statedict', 'model', 'netg', 'g', 'generator', 'gen', 'network', 'networkg', 'net', 'weights',
             'modelweights', 'modelstate', 'module', 'origmod', 'student', 'parameters', 'param', 'sr', 'backbone')
PARALLEL = ('module', '_orig_mod')  # prefixes of torch's own, which no network gives its layers
_EMA = {'ema', 'gema', 'averaged', 'average', 'avg', 'swa', 'shadow'}
# Words of what lies beside a network: optimizers, losses, discriminators.
_BESIDE = {'d', 'disc', 'critic', 'lr', 'vgg', 'lpips', 'ssim', 'psnr', 'fid', 'cri', 'rng', 'scaler', 'loops'}
_BESIDE_STARTS = ('optim', 'sched', 'loss', 'crit', 'discr', 'metric', 'percept', 'callback', 'hyper', 'random', 'teacher')
_MAX_DEPTH = 10


def is_tensor(value: Any) -> bool:
    """Whether a value stands for a tensor."""
    return isinstance(value, Tensor | StoredTensor | StrangeTensor)


def _is_weight(value: Any) -> bool:
    """Whether a value stands for a tensor of one dimension or more, which counters do not have."""
    return value.ndim > 0 if isinstance(value, Tensor) else value.is_weight if isinstance(value, StoredTensor) \
        else isinstance(value, StrangeTensor)


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+', name)]


def _is_ema(name: str) -> bool:
    """Whether a key or prefix says that an exponential moving average lies behind it."""
    return bool(_EMA.intersection(_words(name)))


def _lies_beside(name: str) -> bool:
    return any(word in _BESIDE or word.startswith(_BESIDE_STARTS) for word in _words(name))


def _rank(name: str) -> int | None:
    """The place of a wrapper's name among the usual ones; None if it is not one of them."""
    if _lies_beside(name):
        return None
    plain = ''.join(word for word in _words(name) if word not in _EMA)
    short = plain.removesuffix('statedict')
    for candidate in (plain, short):
        if candidate in _WRAPPERS:
            return _WRAPPERS.index(candidate)
    return 0 if _is_ema(name) or plain == 'statedict' else None


@dataclass
class Holder:
    """A dictionary of tensors in a checkpoint.

    Attributes:
        path: The keys that lead to it.
        weights: The tensors, or what stands for them, and what lies among them.
    """

    path: tuple[str, ...]
    weights: Mapping[Any, Any]

    @property
    def key(self) -> str | None:
        """The keys as one text; None where there are none."""
        return '.'.join(self.path) or None

    @property
    def is_known(self) -> bool:
        """Whether all keys are usual ones."""
        return all(_rank(name) is not None for name in self.path)

    def order(self, depth: int = 0, has_better: bool = False) -> tuple:
        """What holders are sorted by, those of usual keys and of the EMA first.

        Args:
            depth: How many keys were asked for by name.
            has_better: Whether there are holders below it: loose tensors then lie beside these.
        """
        names = self.path[depth:]
        ranks = [_rank(name) for name in names]
        return (any(map(_lies_beside, names)), ranks.count(None) + 0.5 * has_better, not any(map(_is_ema, names)),
                [rank or 0 for rank in ranks])


def find_holders(content: Any) -> list[Holder]:
    """All dictionaries of a content that hold tensors themselves, in the content's order; a dictionary after those within it."""
    found: list[Holder] = []
    seen: set[int] = set()

    def search(value: Any, path: tuple[str, ...]) -> None:
        if not isinstance(value, Mapping) or len(path) > _MAX_DEPTH or id(value) in seen:
            return
        seen.add(id(value))
        for key, item in value.items():
            if isinstance(key, str) and key.isprintable():
                search(item, (*path, key))
        if any(map(_is_weight, value.values())):
            found.append(Holder(path, value))
    search(content, ())
    return found


def whole_network(content: Any, depth: int = 0) -> str | None:
    """The class of a network that was saved whole, as an object in place of its weights; None where there is none."""
    if isinstance(content, Made):
        is_network = isinstance(content.state, Mapping) and {'_parameters', '_modules'} <= content.state.keys()
        return content.by.replace(' ', '.') if is_network else None
    if not isinstance(content, Mapping) or depth > _MAX_DEPTH:
        return None
    return next(filter(None, (whole_network(value, depth + 1) for value in content.values())), None)


def ordered(holders: list[Holder], depth: int = 0) -> list[Holder]:
    """Holders, that to be taken first; `depth` as for `Holder.order`."""
    return sorted(holders, key=lambda holder: holder.order(depth, any(
        len(other.path) > len(holder.path) and other.path[:len(holder.path)] == holder.path for other in holders)))


def asked_for(holders: list[Holder], key: str) -> tuple[list[Holder], int]:
    """The holders at or under a key, or behind a prefix, and how many keys lead there.

    Args:
        holders: Those of a file.
        key: One of the keys that lead to weights, or several joined by dots; or a prefix of names.
    """
    for match in (lambda names: '.'.join(names) == key, lambda names: names[-1] == key):
        depths = [(depth, holder) for holder in holders for depth in range(1, len(holder.path) + 1) if match(holder.path[:depth])]
        if depths:
            first = min(depth for depth, _ in depths)
            return [holder for depth, holder in depths if depth == first], first
    behind = [Holder((*holder.path, key), {name.removeprefix(f'{key}.'): value for name, value in holder.weights.items()
                                           if isinstance(name, str) and name.startswith(f'{key}.')}) for holder in holders]
    behind = [holder for holder in behind if holder.weights]
    return behind[:1], len(behind[0].path) if behind else 0


def without_parallel(weights: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Weights without the prefixes that torch's wrappers give them, `module.` and `_orig_mod.`, and the prefix."""
    prefix = ''
    while (first := _shared(weights)) in PARALLEL:
        weights, prefix = _behind(weights, first), f'{prefix}{first}.'
    return weights, prefix


def _shared(weights: Mapping[str, Any]) -> str | None:
    """What all names begin with up to their first dot, counters and loose tensors left aside; None if they differ."""
    firsts = {name.partition('.')[0] for name in weights if '.' in name}
    loose = [name for name in weights if '.' not in name]
    if len(firsts) != 1 or any(_is_weight(weights[name]) for name in loose):
        return None
    return firsts.pop()


def _behind(weights: Mapping[str, Any], first: str) -> dict[str, Any]:
    return {name[len(first) + 1:]: value for name, value in weights.items() if name.startswith(f'{first}.')}


def namings(weights: Mapping[str, Any], prefix: str = '', depth: int = 0) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Weights by their names, and again without prefixes that may not belong to the names, with the prefix left out.

    What lies behind a prefix comes after what it was taken from, and the EMA before what one dictionary holds beside it.

    Args:
        weights: Tensors by name.
        prefix: What was left out of the names so far.
        depth: How many prefixes that are.
    """
    yield weights, prefix
    layers = {name: value for name, value in weights.items() if '.' in name or (_is_weight(value) and not _lies_beside(name))}
    if 0 < len(layers) < len(weights):  # counters and losses lie among them
        yield layers, prefix
    if depth < _MAX_DEPTH:
        for first in _prefixes(weights):
            yield from namings(_behind(weights, first), f'{prefix}{first}.', depth + 1)


def _prefixes(weights: Mapping[str, Any]) -> list[str]:
    """What may be a prefix: what all names share; else the usual ones; else what the names share that are of no loss."""
    shared = _shared(weights)
    if shared is not None:
        return [shared]
    firsts = list(dict.fromkeys(name.partition('.')[0] for name in weights if '.' in name))
    usual = [first for first in firsts if _rank(first) is not None]
    if usual:
        return sorted(usual, key=lambda first: (not _is_ema(first), _rank(first)))
    others = [first for first in firsts if not _lies_beside(first)]
    return others if len(others) == 1 else []
