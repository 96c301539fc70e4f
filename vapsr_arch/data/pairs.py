"""Which LR image belongs to which HR image, and whether their sizes fit."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vapsr_arch.data.folders import split_images
from vapsr_arch.data.image_files import Header, read_header
from vapsr_arch.data.images import conversion_notes
from vapsr_arch.errors import VapsrError

_LOG = logging.getLogger('basicsr')  # BasicSR's, without the seconds that importing it costs
_META_INFO_LINE = re.compile(r'^(?P<name>.+?\.\w+) \((?P<height>\d{1,9}),(?P<width>\d{1,9}),\d+\)')
_NAME = re.compile(r'^(?P<name>.+?\.\w+)(?= |$)')


class Pair(NamedTuple):
    """An LR image and its HR image: paths, or keys of LMDB records, and headers."""

    lq: str
    gt: str
    lq_header: Header
    gt_header: Header


def _file_pair(lq: str | Path, gt: str | Path) -> Pair:
    return Pair(str(lq), str(gt), read_header(lq), read_header(gt))


def _by_stem(folder: str) -> dict[str, Path]:
    """A folder's images by name without suffix, in the order of their names; other files are skipped with a warning."""
    images, others = split_images(folder)
    if others:
        _LOG.warning(f'{folder}: skipped, of no format that is read: {", ".join(path.name for path in others[:5])}'
                                  f'{f" and {len(others) - 5} more" if len(others) > 5 else ""}')
    twice = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        raise VapsrError(f'{folder}: {", ".join(path.name for path in images if path.stem == twice[0])} have the same name '
                         f'but for the suffix: keep one of them')
    return {path.stem: path for path in images}


def lq_name(template: str, stem: str) -> str:
    """The name of an LR image, without suffix, as a template makes it from the HR image's name.

    Raises:
        VapsrError: The template is none.
    """
    try:
        return template.format(stem)
    except (ValueError, LookupError, AttributeError):
        raise VapsrError(f"filename_tmpl {template!r}: it needs one {{}}, which stands for the HR image's name") from None


def pairs_from_folders(gt_folder: str, lq_folder: str, filename_tmpl: str = '{}') -> list[Pair]:
    """Pairs the images of two folders by their names without suffix.

    Args:
        gt_folder: HR images.
        lq_folder: LR images, named as `filename_tmpl` makes them from the HR images' names: '{}x4' for DIV2K's.
        filename_tmpl: The LR image's name, without suffix.

    Returns:
        The pairs in the order of the HR images' names.

    Raises:
        VapsrError: A folder is missing or has no image, an image has no partner or cannot be read, or two differ only in
            their suffix.
    """
    gt, lq = _by_stem(gt_folder), _by_stem(lq_folder)
    names = {stem: lq_name(filename_tmpl, stem) for stem in gt}
    for stem, name in names.items():
        if name not in lq:
            raise VapsrError(f'{gt[stem]} has no partner: no image named {name} in {lq_folder}')
    unpaired = sorted(set(lq) - set(names.values()))
    if unpaired:
        raise VapsrError(f'{lq[unpaired[0]]} has no partner: no HR image of its name in {gt_folder}')
    return [_file_pair(lq[name], gt[stem]) for stem, name in names.items()]


def _lines(path: str | Path) -> list[str]:
    """A list of images, line by line, without empty lines."""
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not text in UTF-8'
        raise VapsrError(f'{path}: the list of images cannot be read: {reason}') from None
    if any('\0' in line for line in lines):
        raise VapsrError(f'{path}: the list of images cannot be read: it is not text')
    return [line.strip() for line in lines if line.strip()]


def read_meta_info(path: str) -> list[str]:
    """The names of a meta info file, which has one `NAME (HEIGHT,WIDTH,CHANNELS)` a line; names may have spaces.

    Raises:
        VapsrError: The file is missing or lists nothing.
    """
    # BasicSR takes what comes before the first space; without a size the line is the name alone.
    matches = [(line, _META_INFO_LINE.match(line) or _NAME.match(line)) for line in _lines(path)]
    names = [match['name'] if match else line for line, match in matches]
    if not names:
        raise VapsrError(f'{path} lists no image')
    return names


def pairs_from_meta_info(gt_folder: str, lq_folder: str, meta_info_file: str, filename_tmpl: str = '{}') -> list[Pair]:
    """Pairs the images that a meta info file lists, in its order.

    Raises:
        VapsrError: The file is missing or lists nothing, or an image is missing or cannot be read.
    """
    paths = [Path(name) for name in read_meta_info(meta_info_file)]
    return [_file_pair(Path(lq_folder, lq_name(filename_tmpl, path.stem) + path.suffix), Path(gt_folder, path))
            for path in paths]


def read_lmdb_headers(folder: str) -> dict[str, Header]:
    """The records of an LMDB as its meta_info.txt lists them: sizes by key.

    Raises:
        VapsrError: The LMDB or its list is missing, or a line of it is not `NAME (HEIGHT,WIDTH,CHANNELS) LEVEL`.
    """
    meta_info = Path(folder, 'meta_info.txt')
    if not folder.endswith('.lmdb') or not Path(folder, 'data.mdb').is_file() or not meta_info.is_file():
        raise VapsrError(f'{folder} is not an LMDB of images: a folder NAME.lmdb with data.mdb and meta_info.txt is needed')
    headers = {}
    for line in _lines(meta_info):
        match = _META_INFO_LINE.match(line)
        if not match:
            raise VapsrError(f'{meta_info}: {line!r} is not of the form NAME (HEIGHT,WIDTH,CHANNELS) LEVEL')
        # BasicSR cuts keys at the first dot.
        headers[match['name'].split('.')[0]] = Header(int(match['height']), int(match['width']), False, False)
    if not headers:
        raise VapsrError(f'{folder}: the LMDB has no image')
    return headers


def pairs_from_lmdb(gt_lmdb: str, lq_lmdb: str) -> list[Pair]:
    """Pairs the records of two LMDBs by key.

    Returns:
        The pairs in the order of their keys.

    Raises:
        VapsrError: An LMDB is missing or empty, or a record has no partner.
    """
    gt, lq = read_lmdb_headers(gt_lmdb), read_lmdb_headers(lq_lmdb)
    for have, have_name, want, want_name in ((gt, gt_lmdb, lq, lq_lmdb), (lq, lq_lmdb, gt, gt_lmdb)):
        missing = sorted(set(have) - set(want))
        if missing:
            raise VapsrError(f'{missing[0]} of {have_name} has no partner in {want_name}')
    return [Pair(key, key, lq[key], gt[key]) for key in sorted(gt)]


def check_pairs(pairs: Sequence[Pair], scale: int, gt_size: int | None, name: str) -> None:
    """Checks that each LR image is its HR image over the scale; logs what reading the images leaves out.

    Args:
        pairs: The pairs of a data set.
        scale: HR size over LR size.
        gt_size: For training, the HR pixels of a crop: HR must be at least so large and a multiple of the scale. None for
            testing: HR may be up to scale - 1 pixels larger, as in the benchmark sets, and is then cut.
        name: The data set, for the log.

    Raises:
        VapsrError: A pair does not fit.
    """
    for pair in pairs:
        lq, gt = pair.lq_header, pair.gt_header
        wanted = (gt.height // scale, gt.width // scale)
        if (lq.height, lq.width) != wanted:
            raise VapsrError(f'{pair.lq} is {lq.height}x{lq.width} (height x width), but {pair.gt} is {gt.height}x'
                             f'{gt.width}: for x{scale} the LR image must be {wanted[0]}x{wanted[1]}')
        if gt_size and (gt.height % scale or gt.width % scale):
            raise VapsrError(f'{pair.gt} is {gt.height}x{gt.width}, not a multiple of the scale {scale}: for training, cut '
                             f'HR images to one')
        if gt_size and min(gt.height, gt.width) < gt_size:
            raise VapsrError(f'{pair.gt} is {gt.height}x{gt.width}, smaller than gt_size {gt_size}: lower gt_size or leave '
                             f'the image out')
    for note in conversion_notes(header for pair in pairs for header in (pair.lq_header, pair.gt_header)):
        _LOG.warning(f'{name}: {note}')
