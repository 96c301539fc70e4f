"""Rows of methods that have no code here: `--row NAME FOLDER` scores images that they upscaled elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vapsr_arch.data.folders import split_images
from vapsr_arch.data.images import decode, read_bytes
from vapsr_arch.errors import VapsrError
from vapsr_arch.metrics.measure import measure
from vapsr_arch.report.benchmark_sets import BenchmarkSet
from vapsr_arch.report.records import Record, folder_state
from vapsr_arch.report.row import Row, reason_of


class ImageRow:
    """A folder of upscaled images in a benchmark.

    Args:
        title: What the row is called.
        folder: A folder of the images of each set, by the set's name; with a single set, of the images themselves. Where there
            is a folder `x4` within, it is that of the scale.
        scale: The scale.

    Raises:
        VapsrError: There is no such folder.
    """

    def __init__(self, title: str, folder: Path, scale: int) -> None:
        if not folder.is_dir():
            raise VapsrError(f'--row {title}: there is no folder {folder}')
        self.title = title
        self.scale = scale
        of_scale = folder / f'x{scale}'
        self.folder = of_scale if of_scale.is_dir() else folder

    def run(self, sets: Mapping[str, BenchmarkSet], metrics: Mapping[str, Mapping[str, Any]], records: Path) -> Row:
        """Measures the images of each set.

        Args:
            sets: The benchmark's sets by name.
            metrics: `val.metrics` of the option files.
            records: The folder that keeps what was measured.
        """
        row = Row(self.title, self.scale)
        for name, images in sets.items():
            folder = self.folder / name
            if not folder.is_dir():
                if len(sets) > 1:
                    row.absent[name] = f'there is no folder {folder}'
                    continue
                folder = self.folder
            try:
                files = find_images(folder, images.hr_names)
                fingerprint = {'images': folder_state(folder), 'data': images.state, 'metrics': metrics}
                record = Record(records / f'row {self.title} {name}_x{self.scale}.json', fingerprint)
                row.take_images(name, record.take('images', lambda images=images, files=files: _measure(images, files, metrics)))
                row.files[name] = {image: str(files[hr]) for image, hr in zip(images.names, images.hr_names)}
            except VapsrError as error:
                row.failures[name] = reason_of(error)
        return row


def _measure(images: BenchmarkSet, files: Mapping[str, Path], metrics: Mapping[str, Mapping[str, Any]]
             ) -> dict[str, dict[str, float]]:
    measured = {}
    for index, hr_name in enumerate(images.hr_names):
        image = images[index]
        upscaled = decode(read_bytes(files[hr_name]), files[hr_name])
        if upscaled.shape != image.hr.shape:
            sizes = [f'{width}x{height}' for height, width, _ in (upscaled.shape, image.hr.shape)]
            raise VapsrError(f'{files[hr_name]} is {sizes[0]}, the HR image {sizes[1]}')
        measured[image.name] = measure(upscaled, image.hr, metrics)
    return measured


def find_images(folder: Path, hr_names: Sequence[str]) -> dict[str, Path]:
    """The images of a folder that are named as HR images, all with the same suffix or all without.

    Args:
        folder: The folder.
        hr_names: The HR images' names without extension.

    Raises:
        VapsrError: An HR image has none, or several.
    """
    files: dict[str, Path] = {}
    for path in split_images(folder)[0]:
        if path.stem in files:
            raise VapsrError(f'{files[path.stem]} and {path} have the same name but for the extension: remove one')
        files[path.stem] = path
    counts: dict[str, int] = {}
    for name in hr_names:
        for stem in files:
            if stem.startswith(name):
                counts[stem[len(name):]] = counts.get(stem[len(name):], 0) + 1
    most = max(counts.values(), default=0)
    suffixes = [suffix for suffix, count in counts.items() if count == most]
    if most < len(hr_names):
        suffix = suffixes[0] if len(suffixes) == 1 else ''
        missing = [name for name in hr_names if name + suffix not in files]
        others = f' and {len(missing) - 1} others' if missing[1:] else ''
        raise VapsrError(f'{folder} has no image {missing[0]}{suffix}{others}: name the images as the HR images, or all with one '
                         f'suffix')
    if len(suffixes) > 1 and '' not in suffixes:
        raise VapsrError(f'{folder} has several images of each HR image ({", ".join(sorted(suffixes))}): keep one')
    suffix = '' if '' in suffixes else suffixes[0]
    return {name: files[name + suffix] for name in hr_names}
