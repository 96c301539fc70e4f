"""What an image file holds beside its pixels: EXIF, XMP, the ICC profile, the chunks of a PNG."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

from PIL import ExifTags, Image, ImageCms

from vapsr_arch.data.image_tiff import BAD_METADATA, LAYOUT_TAGS

_COLOUR_CHUNKS = ('gAMA', 'cHRM', 'sRGB', 'cICP', 'sBIT', 'mDCV', 'cLLI')
# Namespaces, and a property, of XMP that is about parts of its file which are not kept: depth, gain maps, films, more XMP.
_FOREIGN_XMP = (b'http://ns.google.com/photos/', b'http://ns.adobe.com/hdr-gain-map/', b'http://ns.apple.com/HDRGainMap/',
                b'xmpNote:HasExtendedXMP')
_ICC_TAGS = 132  # where the table of an ICC profile's tags begins, after their number
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]')
_XMP_WIDTH = re.compile(rb'((?:tiff:ImageWidth|exif:PixelXDimension)(?:\s*=\s*["\']|>))\d+')
_XMP_HEIGHT = re.compile(rb'((?:tiff:ImageLength|exif:PixelYDimension)(?:\s*=\s*["\']|>))\d+')


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
    except BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    return exif


def without_layout(exif: Image.Exif) -> Image.Exif | None:
    """EXIF without what would be wrong for another file's pixels; None if nothing is left.

    Raises:
        ValueError: It cannot be written.
    """
    for tag in (ExifTags.Base.Orientation, *LAYOUT_TAGS):
        exif.pop(tag, None)
    try:
        exif.tobytes()
    except BAD_METADATA as error:
        raise ValueError(f'its EXIF is damaged ({error})') from None
    # The resolution is kept separately; without other EXIF it is all there is.
    return exif if set(exif) - {ExifTags.Base.XResolution, ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit} else None


def xmp_fault(xmp: bytes) -> str | None:
    """Why XMP would be wrong for an image that is upscaled from its own; None if it is right."""
    if b'\0' in xmp or b'<' not in xmp:
        return 'is damaged'
    return 'is about parts of the file that are not kept' if any(name in xmp for name in _FOREIGN_XMP) else None


def suited_xmp(xmp: bytes, height: int, width: int) -> bytes:
    """XMP of an image after upscaling and turning it upright."""
    xmp = _XMP_ORIENTATION.sub(rb'\g<1>1', xmp)
    xmp = _XMP_WIDTH.sub(rb'\g<1>%d' % width, xmp)
    return _XMP_HEIGHT.sub(rb'\g<1>%d' % height, xmp)


def icc_fault(profile: bytes, wanted: Literal['GRAY', 'RGB', 'CMYK']) -> str | None:
    """Why an ICC profile does not fit an image; None if it does.

    Args:
        profile: The profile's bytes.
        wanted: What the image's colours are.
    """
    if len(profile) < _ICC_TAGS or int.from_bytes(profile[:4], 'big') != len(profile):
        return 'is damaged'
    size_of_table = 12 * int.from_bytes(profile[_ICC_TAGS - 4:_ICC_TAGS], 'big')
    table = profile[_ICC_TAGS:_ICC_TAGS + size_of_table]
    if len(table) < size_of_table or any(start + size > len(profile) for start, size in struct.iter_unpack('>4xII', table)):
        return 'is damaged'  # libpng would refuse it, LittleCMS does without such a tag
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if space == wanted:
            ImageCms.buildTransform(opened, ImageCms.createProfile('sRGB'), 'L' if wanted == 'GRAY' else wanted, 'RGB')
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return 'is damaged'
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


def check_png(content: BinaryIO) -> None:
    """Checks that a PNG is whole: all of its chunks are there, with the sums that they should have.

    Raises:
        ValueError: One is not.
    """
    content.seek(8)
    name = b''
    while name != b'IEND':
        header = content.read(8)
        size, name = struct.unpack('>I4s', header) if len(header) == 8 else (0, b'')
        data = memoryview(content.read(size + 4))
        if len(data) < size + 4 or zlib.crc32(data[:size], zlib.crc32(name)) != int.from_bytes(data[size:], 'big'):
            raise ValueError(f'its chunk {name.decode("latin-1")} is damaged' if name else 'it ends too early')


def png_has_resolution(content: BinaryIO) -> bool:
    """Whether a PNG says how many pixels it has a metre, and not only how high they are for their width."""
    return any(name == 'pHYs' and data[8:9] == b'\1' for name, data in png_chunks(content))


def png_has_profile(content: BinaryIO) -> bool:
    """Whether a PNG has an ICC profile, whole or damaged."""
    return any(name == 'iCCP' for name, _ in png_chunks(content))


def remove_png_resolution(content: BinaryIO) -> None:
    """Has a PNG that libvips wrote, which always gives it a resolution, say no more than that its pixels are square."""
    for name, data in png_chunks(content):
        if name == 'pHYs':
            chunk = b'pHYs' + struct.pack('>IIB', 1, 1, 0)
            content.seek(-len(name) - len(data), io.SEEK_CUR)
            content.write(chunk + struct.pack('>I', zlib.crc32(chunk)))
            return


def colour_chunks(content: BinaryIO) -> list[str]:
    """The names of the chunks that say what the colours of a PNG mean, but for its ICC profile."""
    return [name for name, _ in png_chunks(content) if name in _COLOUR_CHUNKS]
