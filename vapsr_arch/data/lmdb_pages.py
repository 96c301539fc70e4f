"""Checks of an LMDB's file before the library maps it: that believes every number in it, and a wrong one kills the process.

The layout is that of LMDB 0.9 (libraries/liblmdb/mdb.c) on 64 bits, little-endian. A file begins with two meta pages, of which
the one with the later transaction counts. A page is a header of 16 bytes and, in a branch or a leaf, the offsets of its nodes;
a node is a header of 8 bytes, a key and a value. What is too long for a leaf lies on pages of its own.
"""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vapsr_arch.errors import VapsrError

_PAGE = struct.Struct('<QHHHH')  # its number, padding, kind, ends of the offsets and of the free space
_NODE = struct.Struct('<HHHH')  # of the value's size or the child's number: low, high, higher; here flags; the key's size
# Magic, version, address, size of the map; of the free pages and of the records: a database; the last page, transaction.
_META = struct.Struct('<IIQQ' + 2 * 'IHHQQQQQ' + 'QQ')
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF = 1, 2
_LONG = 1  # a node's flag: the value lies on pages of its own
_INTEGER_KEYS = 8  # a database's flag, which the list of free pages has
_NO_PAGE = 2**64 - 1
_DEEPEST = 32  # levels of a tree


class _Meta(NamedTuple):
    page_size: int
    root: int
    pages: int
    transaction: int


class _Fault(Exception):
    """What is wrong with a file."""


def check_pages(path: Path) -> None:
    """Checks that every page and record of an LMDB lies within its file; the records' own bytes are not read.

    Args:
        path: `data.mdb`.

    Raises:
        VapsrError: It cannot be read, is damaged, or is no plain LMDB.
    """
    try:
        with path.open('rb') as file:
            size = file.seek(0, 2)
            meta = _newest_meta(file)
            if meta.pages * meta.page_size > size:
                raise VapsrError(f'{path.parent}: {path.name} has {size} bytes of {meta.pages * meta.page_size}: it is cut off; '
                                 f'make or copy it again')
            if meta.root != _NO_PAGE:
                _check_tree(file, meta)
    except OSError as error:
        raise VapsrError(f'{path.parent}: the LMDB cannot be read: {error.strerror}') from None
    except (_Fault, struct.error) as error:
        reason = error if isinstance(error, _Fault) else 'it ends too early'
        raise VapsrError(f'{path.parent}: the LMDB cannot be read: it is damaged ({reason}); make or copy it again') from None


def _newest_meta(file: BinaryIO) -> _Meta:
    first = _meta(file, 0)
    return max(first, _meta(file, first.page_size), key=lambda meta: meta.transaction)


def _meta(file: BinaryIO, offset: int) -> _Meta:
    file.seek(offset + _PAGE.size)
    (magic, version, _, _, page_size, free_flags, *_, flags, _, _, _, _, _, root, last_page,
     transaction) = _META.unpack(file.read(_META.size))
    if magic != _MAGIC or version != _VERSION:
        raise _Fault(f'a meta page is not one of version {_VERSION}')
    if page_size not in (2**power for power in range(9, 16)) or free_flags & ~_INTEGER_KEYS or flags:
        raise _Fault('a meta page has unknown settings')
    return _Meta(page_size, root, last_page + 1, transaction)


def _check_tree(file: BinaryIO, meta: _Meta) -> None:
    """Reads the pages of the tree, level by level."""
    level, seen = [meta.root], 0
    for _ in range(_DEEPEST):
        below: list[int] = []
        for number in level:
            if not 1 < number < meta.pages:
                raise _Fault(f'it has no page {number}')
            file.seek(number * meta.page_size)
            below += _children(file.read(meta.page_size), number, meta)
        seen += len(level)
        if not below:
            return
        if seen + len(below) > meta.pages:
            break
        level = below
    raise _Fault('its pages form a circle')


def _children(page: bytes, number: int, meta: _Meta) -> list[int]:
    """The pages below a branch, none below a leaf; both are checked."""
    own_number, _, kind, lower, upper = _PAGE.unpack_from(page)
    count = (lower - _PAGE.size) // 2
    if own_number != number or kind not in (_BRANCH, _LEAF) or not _PAGE.size <= lower <= upper <= meta.page_size \
            or count < (2 if kind == _BRANCH else 1):
        raise _Fault(f'page {number} is not one of its tree')
    children = []
    for offset in struct.unpack_from(f'<{count}H', page, _PAGE.size):
        if not upper <= offset <= meta.page_size - _NODE.size:
            raise _Fault(f'page {number} has a node outside of it')
        low, high, flags, key_size = _NODE.unpack_from(page, offset)
        end = offset + _NODE.size + key_size
        if kind == _BRANCH:
            children.append(low | high << 16 | flags << 32)
        elif flags == _LONG and end + 8 <= meta.page_size:
            first, = struct.unpack_from('<Q', page, end)
            pages = -(-(_PAGE.size + (low | high << 16)) // meta.page_size)
            if not 1 < first <= meta.pages - pages:
                raise _Fault(f'a record of page {number} lies outside of the file')
        elif flags:
            raise _Fault(f'page {number} has a node of an unknown kind')
        else:
            end += low | high << 16
        if end > meta.page_size:
            raise _Fault(f'page {number} has a node outside of it')
    return children
