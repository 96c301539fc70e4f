"""TIFF's directory, by Pillow: which layouts libvips reads as they are meant, and the EXIF, which it neither reads nor writes."""

import io
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

# TIFF's tags of how its pixels lie in the file, and of what is kept elsewhere: they are a TIFF's own and no other file's.
LAYOUT_TAGS = (*range(254, 267), 273, *range(277, 282), 284, 292, 293, 297, *range(317, 326), 330, 338, 339, 347, 530, 531, 532,
               700, 34675)
BAD_METADATA = (SyntaxError, ValueError, TypeError, KeyError, AttributeError, OSError, EOFError, struct.error, OverflowError,
                RuntimeError, MemoryError)  # what Pillow raises for damaged EXIF, one or the other
_RESOLUTION_TAGS = (282, 283, 296)
_NESTED = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_PHOTOMETRIC = {4: 'a transparency mask', 6: 'YCbCr', 8: 'CIELab', 9: 'ICCLab', 10: 'ITULab', 32803: 'a raw sensor\'s',
                32844: 'LogL', 32845: 'LogLuv', 34892: 'a raw sensor\'s'}
_BESIDE = {3: 'a palette', 5: 'CMYK', 6: 'YCbCr'}
_JPEG_IN_TIFF = 7
_MOST_TAGS = 4096  # of a directory
_ORIENTATION = 274
# None, the fax codes, LZW, JPEG, Deflate of both numbers, PackBits, Zstandard, WebP: what libvips is built with.
_COMPRESSIONS = (1, 2, 3, 4, 5, _JPEG_IN_TIFF, 8, 32946, 32773, 50000, 50001)


def _directory(file: BinaryIO) -> tuple[bytes, TiffImagePlugin.ImageFileDirectory_v2]:
    """The header of a TIFF or BigTIFF, and its first directory.

    Raises:
        ValueError: It is damaged.
    """
    try:
        file.seek(0)
        head = file.read(8)
        head += file.read(8) if 43 in head[2:4] else b''
        directory = _empty_directory(head)
        file.seek(directory.next)
        directory.load(file)
        dict(directory)  # which decodes the values
    except BAD_METADATA as error:
        raise ValueError(f'its TIFF directory is damaged ({error})') from None
    return head, directory


def _empty_directory(head: bytes, group: int | None = None) -> TiffImagePlugin.ImageFileDirectory_v2:
    """A directory to read from a file that begins so; of a big-endian BigTIFF, Pillow sees neither the one nor the other."""
    if head[:4] == b'MM\0+':
        return TiffImagePlugin.ImageFileDirectory_v2(b'II+\0' + head[4:], prefix=b'MM', group=group)
    return TiffImagePlugin.ImageFileDirectory_v2(head, group=group)


def with_repaired_tags(file: BinaryIO) -> bytes | None:
    """A TIFF with its tags in ascending order, each once, the first of two, and without an orientation that is none of 1 to 8.

    libtiff has a mere warning for these, as for damaged pixels. tifffile writes a description twice.

    Returns:
        The file's bytes; None where nothing has to be repaired, or two tags that say how the pixels lie contradict each other.
    """
    file.seek(0)
    head = file.read(16)
    order, big = '<' if head[:2] == b'II' else '>', 43 in head[2:4]
    offset, count_form, size = (8, 'Q', 20) if big else (4, 'I', 12)
    try:
        start, = struct.unpack_from(order + count_form, head, offset)
        file.seek(start)
        count_form = 'Q' if big else 'H'
        width = struct.calcsize(count_form)
        count, = struct.unpack(order + count_form, file.read(width))
        entries = [file.read(size) for _ in range(count if count < _MOST_TAGS else 0)]
        tags = [struct.unpack_from(order + 'H', entry)[0] for entry in entries]
    except (struct.error, OverflowError, OSError, ValueError):
        return None  # it is damaged, which libtiff says
    first = dict(reversed(list(zip(tags, entries))))
    if _ORIENTATION in first and not 1 <= struct.unpack_from(order + 'H', first[_ORIENTATION], 12 if big else 8)[0] <= 8:
        del first[_ORIENTATION]
    if tags == sorted(first) or any(tag in LAYOUT_TAGS and entry != first[tag] for tag, entry in zip(tags, entries)):
        return None
    file.seek(0)
    content = bytearray(file.read())
    end = start + width + size * count
    ordered = b''.join(first[tag] for tag in sorted(first)) + content[end:end + struct.calcsize('Q' if big else 'I')]
    content[start:start + width] = struct.pack(order + count_form, len(first))
    content[start + width:start + width + len(ordered)] = ordered
    return bytes(content)


def check_layout(file: BinaryIO) -> None:
    """Refuses the layouts of TIFF that libvips decodes to something else; colours multiplied by alpha it divides again.

    Raises:
        ValueError: It is one of them; the message follows the file's name.
    """
    try:
        tags = _directory(file)[1]
        # Of a damaged directory any value may be anything.
        bits, formats = (set(np.atleast_1d(tags.get(tag, default)).tolist()) for tag, default in ((258, 1), (339, 1)))
        photometric, compression, samples = tags.get(262), tags.get(259, 1), tags.get(277, 1)
        separate = tags.get(284, 1) != 1 and samples != 1
        if not all(isinstance(value, int) for value in (photometric or 0, compression, samples)):
            raise ValueError('its TIFF directory is damaged')
    except (ValueError, TypeError) as error:
        raise ValueError(f'cannot be read as an image: {error}') from None
    few_bits = bits in ({1}, {2}, {4}) and samples == 1 and photometric in (0, 1, 3)
    if not formats <= {1, 4} or not (bits in ({8}, {16}) or few_bits):
        raise ValueError(f'has samples of {"/".join(map(str, sorted(bits)))} bits'
                         f'{"" if formats <= {1, 4} else " that are signed or real numbers"}: convert it to 8 or 16 bits')
    if compression not in _COMPRESSIONS:
        raise ValueError(f'is compressed by a method that is not read ({compression}): write it with LZW or Deflate')
    if photometric not in (0, 1, 2, 3, 5) and (photometric, compression) != (6, _JPEG_IN_TIFF):
        raise ValueError(f'has colours of the kind {_PHOTOMETRIC.get(photometric, photometric)}: convert it to RGB')
    if photometric == 3 and bits == {16}:
        raise ValueError(f'has a palette of {max(bits)} bits: convert it to RGB')
    colours = {2: 3, 5: 4, 6: 3}.get(photometric, 1)
    if samples == colours + 1 and photometric in (3, 5, 6):
        raise ValueError(f'has alpha beside {_BESIDE[photometric]}: convert it to RGB with alpha')
    if samples - colours not in (0, 1):
        raise ValueError(f'has {samples} samples a pixel, of which {colours} are colours: one more, alpha, is read')
    if separate and photometric not in (2, 5):
        raise ValueError('keeps grey and alpha in separate planes: convert it to one plane')


def has_next_page(file: BinaryIO) -> bool:
    """Whether there is another page by the first one's directory, whole or damaged.

    Raises:
        ValueError: The directory is damaged.
    """
    return _directory(file)[1].next > 0


def exif(file: BinaryIO) -> Image.Exif:
    """A TIFF's EXIF: what its directory says of anything but the layout, and the directories of EXIF and GPS.

    Raises:
        ValueError: It is damaged.
    """
    head, directory = _directory(file)
    found = Image.Exif()
    try:
        for tag, value in directory.items():
            if tag not in _NESTED:
                found[tag] = _single(value)
        for part in _NESTED:
            if part in directory:
                nested = _empty_directory(head, part)
                file.seek(directory[part])
                nested.load(file)
                found.get_ifd(part).update({tag: _single(value) for tag, value in nested.items()})
    except BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    return found


def _single(value: object) -> object:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def rewrite_directory(path: Path, exif: Image.Exif | None, has_resolution: bool) -> None:
    """Gives a TIFF another directory, at its end: what the present one says and EXIF.

    The TIFF is of tiles: Pillow would move the offsets of strips.

    Args:
        path: The file.
        exif: What is added.
        has_resolution: Keep the resolution, which libvips always writes.
    """
    with path.open('r+b') as file:
        head, directory = _directory(file)
        if exif:
            directory.update({tag: value for tag, value in exif.items() if tag not in (*tuple(ExifTags.IFD), *LAYOUT_TAGS)
                              and tag not in directory})
            for part in _NESTED:
                if exif.get_ifd(part):
                    directory[part] = exif.get_ifd(part)
        if not has_resolution:
            for tag in _RESOLUTION_TAGS:
                directory.pop(tag, None)
        end = file.seek(0, io.SEEK_END)
        end += file.write(b'\0' * (end % 2))
        file.write(directory.tobytes(end))
        order = '<' if directory.prefix == b'II' else '>'
        file.seek(len(head) // 2)
        file.write(struct.pack(order + ('Q' if len(head) > 8 else 'I'), end))
