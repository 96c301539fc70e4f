"""What an image file says beside its pixels: EXIF, the ICC profile, the tags of a TIFF, the chunks of a PNG."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

# TIFF's tags of how its pixels lie in the file, and of what is kept elsewhere: they are a TIFF's own and no other file's.
_LAYOUT_TAGS = (*range(254, 267), 273, *range(277, 282), 284, 292, 293, 297, *range(317, 326), 330, 338, 339, 347, 530, 531, 532,
                700, 34675)
_COLOUR_CHUNKS = ('gAMA', 'cHRM', 'sRGB', 'cICP', 'sBIT', 'mDCV', 'cLLI')
_BAD_METADATA = (SyntaxError, ValueError, TypeError, KeyError, AttributeError, OSError, EOFError, struct.error, OverflowError,
                 RuntimeError, MemoryError)  # what Pillow raises for damaged EXIF, one or the other


def tiff_directory(file: BinaryIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The first directory of a TIFF or BigTIFF.

    Raises:
        ValueError: It is damaged.
    """
    try:
        head = file.read(8)
        head += file.read(8) if 43 in head[2:4] else b''
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(directory.next)
        directory.load(file)
        dict(directory)  # which decodes the values
    except _BAD_METADATA as error:
        raise ValueError(f'its TIFF directory is damaged ({error})') from None
    return directory


def tiff_exif(file: BinaryIO) -> Image.Exif:
    """A TIFF's EXIF: what its directory says of anything but the layout, and the directories of EXIF and GPS.

    Raises:
        ValueError: It is damaged.
    """
    directory, exif = tiff_directory(file), Image.Exif()
    try:
        for tag, value in directory.items():
            if tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                exif[tag] = _single(value)
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if part in directory:
                nested = TiffImagePlugin.ImageFileDirectory_v2(directory._get_ifh(), group=part)
                file.seek(directory[part])
                nested.load(file)
                exif.get_ifd(part).update({tag: _single(value) for tag, value in nested.items()})
    except _BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    return exif


def _single(value: object) -> object:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def parsed_exif(content: bytes) -> Image.Exif:
    """EXIF from the bytes that a file keeps it in.

    Raises:
        ValueError: It is damaged.
    """
    exif = Image.Exif()
    try:
        exif.load(content)
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            exif.get_ifd(part)
    except _BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    return exif


def without_layout(exif: Image.Exif) -> Image.Exif | None:
    """EXIF without what is not true of another file's pixels; None if nothing is left.

    Raises:
        ValueError: It cannot be written.
    """
    for tag in (ExifTags.Base.Orientation, *_LAYOUT_TAGS):
        exif.pop(tag, None)
    try:
        exif.tobytes()
    except _BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    # The resolution is kept apart, and stands in files that have no EXIF otherwise.
    return exif if set(exif) - {ExifTags.Base.XResolution, ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit} else None


def icc_fault(profile: bytes, channels: int) -> str | None:
    """Why an ICC profile does not suit an image; None if it does.

    Args:
        profile: The profile's bytes.
        channels: The image's, alpha included.
    """
    if len(profile) < 128 or int.from_bytes(profile[:4], 'big') != len(profile):
        return 'is damaged'
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return 'is damaged'
    wanted = 'GRAY' if channels < 3 else 'RGB'
    return None if space == wanted else f'is for {space}, not {wanted}'


def png_chunks(content: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The chunks of a PNG before its pixels: their names, and their first 16 bytes."""
    content.seek(8)
    while len(header := content.read(8)) == 8:
        size, name = struct.unpack('>I4s', header)
        if name in (b'IDAT', b'IEND'):
            return
        yield name.decode('latin-1'), content.read(min(size, 16))
        content.seek(max(0, size - 16) + 4, io.SEEK_CUR)


def colour_chunks(content: BinaryIO) -> list[str]:
    """The names of the chunks that say what the colours of a PNG mean, but for its ICC profile."""
    return [name for name, _ in png_chunks(content) if name in _COLOUR_CHUNKS]


def add_exif_to_tiff(path: Path, exif: Image.Exif) -> None:
    """Gives a TIFF EXIF: a directory at its end, of what the present one says and this, takes the place of that.

    The TIFF is of tiles: Pillow would move the offsets of strips.
    """
    with path.open('r+b') as file:
        directory = tiff_directory(file)
        directory.update({tag: value for tag, value in exif.items() if tag not in (*tuple(ExifTags.IFD), *_LAYOUT_TAGS)
                          and tag not in directory})
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if exif.get_ifd(part):
                directory[part] = exif.get_ifd(part)
        end = file.seek(0, io.SEEK_END)
        end += file.write(b'\0' * (end % 2))
        file.write(directory.tobytes(end))
        big = directory._bigtiff
        file.seek(8 if big else 4)
        file.write(struct.pack(directory._endian + ('Q' if big else 'I'), end))
