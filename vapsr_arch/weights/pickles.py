"""What a pickle says it holds, read without importing, calling or allocating anything that it asks for.

torch's own restricted unpickler calls some constructors with whatever arguments stand in the file: `bytearray(2**33)`, tensors of
any shape. Here the instructions of a pickle are followed, and what they would call is noted by name.
"""

import pickletools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

_MAX_STEPS = 1_000_000  # instructions and items, two seconds: a checkpoint has some thousands, 35 for each tensor
_MAX_KEY = 1000  # characters of a name, or bits of a number, that a dictionary finds its values by
_MARK = object()
_DICTIONARIES = ('collections OrderedDict', 'collections defaultdict', 'builtins dict', '__builtin__ dict')


class PickleFault(Exception):
    """A pickle that is damaged, or that is none of a checkpoint."""


@dataclass(eq=False)
class Named:
    """A function or a class, by its name, such as `torch._utils _rebuild_tensor_v2`."""

    name: str


@dataclass(eq=False)
class Made:
    """What a function or a class would have made.

    Attributes:
        by: The name of the function or class; `?` where the pickle calls something else.
        arguments: What it would have been called with.
        state: What would have been given to the object afterwards.
    """

    by: str
    arguments: tuple
    state: Any = None


@dataclass(eq=False)
class Stored:
    """A reference to data beside the pickle.

    Attributes:
        reference: What the pickle says about it.
    """

    reference: Any


@dataclass
class _Machine:
    make: Callable[[str, tuple], Any]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    steps: int = 0

    def charge(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > _MAX_STEPS:
            raise PickleFault(f'it has more than {_MAX_STEPS:,} objects beside its tensors')

    def to_mark(self) -> list[Any]:
        """Takes what lies above the last mark off the stack."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple):
            raise PickleFault('it calls something without arguments')
        name = function.name if isinstance(function, Named) else '?'
        if name in _DICTIONARIES:
            pairs = arguments[-1] if arguments and isinstance(arguments[-1], dict | list) else {}
            return self.filled({}, pairs.items() if isinstance(pairs, dict) else pairs)
        if name == 'collections Counter' and len(arguments) <= 1 and all(isinstance(value, dict) for value in arguments):
            return self.filled(Counter(), arguments[0].items() if arguments else ())
        return self.make(name, arguments)

    def filled(self, target: Any, pairs: Iterable[Any]) -> dict:
        """Puts pairs into a dictionary."""
        if not isinstance(target, dict):
            return target  # a dictionary of another class; what it holds is of no use here
        for pair in pairs:
            self.charge()
            key, value = pair
            target[_key(key)] = value
        return target

    def built(self, target: Any, state: Any) -> None:
        if isinstance(target, Made):
            target.state = state

    def step(self, opcode: str, argument: Any) -> None:
        """Follows one instruction; those of more than one name are brought under one by `_SAME`."""
        stack = self.stack
        match _SAME.get(opcode, opcode):
            case 'CONSTANT':
                stack.append(argument)
            case 'NONE':
                stack.append(None)
            case 'NEWTRUE' | 'NEWFALSE':
                stack.append(opcode == 'NEWTRUE')
            case 'MARK':
                stack.append(_MARK)
            case 'EMPTY_LIST':
                stack.append([])
            case 'EMPTY_DICT':
                stack.append({})
            case 'EMPTY_TUPLE':
                stack.append(())
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case 'TUPLE':
                stack.append(tuple(self.to_mark()))
            case 'LIST':
                stack.append(self.to_mark())
            case 'DICT':
                items = self.to_mark()
                stack.append(self.filled({}, zip(items[::2], items[1::2], strict=True)))
            case 'EMPTY_SET':
                stack.append(Made('builtins set', ()))
            case 'FROZENSET':
                stack.append(Made('builtins frozenset', (self.to_mark(),)))
            case 'ADDITEMS':
                self.to_mark()
            case 'APPEND' | 'APPENDS':
                items = self.to_mark() if opcode == 'APPENDS' else [stack.pop()]
                if isinstance(stack[-1], list):
                    self.charge(len(items))
                    stack[-1].extend(items)
            case 'SETITEM' | 'SETITEMS':
                items = self.to_mark() if opcode == 'SETITEMS' else [stack.pop(-2), stack.pop()]
                self.filled(stack[-1], zip(items[::2], items[1::2], strict=True))
            case 'POP':
                stack.pop()
            case 'POP_MARK':
                self.to_mark()
            case 'DUP':
                stack.append(stack[-1])
            case 'PUT':
                self.memo[argument] = stack[-1]
            case 'MEMOIZE':
                self.memo[len(self.memo)] = stack[-1]
            case 'GET':
                stack.append(self.memo[argument])
            case 'GLOBAL':
                stack.append(Named(argument))
            case 'STACK_GLOBAL':
                name, module = stack.pop(), stack.pop()
                stack.append(Named(f'{str(module)[:_MAX_KEY]} {str(name)[:_MAX_KEY]}'
                                   if isinstance(module, str) and isinstance(name, str) else '?'))
            case 'REDUCE' | 'NEWOBJ':
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case 'NEWOBJ_EX':
                _, arguments, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case 'INST':
                stack.append(self.call(Named(argument), tuple(self.to_mark())))
            case 'OBJ':
                function, *arguments = self.to_mark()
                stack.append(self.call(function, tuple(arguments)))
            case 'BUILD':
                state = stack.pop()
                self.built(stack[-1], state)
            case 'BINPERSID':
                stack.append(Stored(stack.pop()))
            case 'PROTO' | 'FRAME':
                pass
            case other:
                raise PickleFault(f'it has the instruction {other}, which checkpoints do not have')


_SAME = {name: same for same, names in {
    'CONSTANT': ('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING',
                 'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8', 'UNICODE', 'BINUNICODE',
                 'SHORT_BINUNICODE', 'BINUNICODE8'),
    'PUT': ('BINPUT', 'LONG_BINPUT'), 'GET': ('BINGET', 'LONG_BINGET')}.items() for name in names}


def _key(value: Any) -> Any:
    """A key of a dictionary; what takes long to hash or to compare is replaced with a name of it."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, str | bytes) and len(value) <= _MAX_KEY) \
            or (isinstance(value, int) and value.bit_length() <= _MAX_KEY):
        return value
    return Made('key', ())


def read_pickle(file: BinaryIO, make: Callable[[str, tuple], Any] = Made) -> Any:
    """Reads one pickle, up to its end, of a file that may continue after it.

    Args:
        file: The file, open at the pickle's start.
        make: Called with the name and the arguments of whatever the pickle calls, but for dictionaries, which are made; what
            it returns stands for the object.

    Returns:
        Numbers, texts, lists, tuples and dictionaries as they are; else `Named`, `Stored` and what `make` returned.

    Raises:
        PickleFault: It is no pickle, is damaged, or too large for one beside tensors.
    """
    machine = _Machine(make)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.charge()
            if opcode.name == 'STOP':
                result = machine.stack.pop()
                break
            machine.step(opcode.name, argument)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise PickleFault('its pickle is damaged') from error
    if result is _MARK or machine.stack:
        raise PickleFault('its pickle is damaged')
    return result
