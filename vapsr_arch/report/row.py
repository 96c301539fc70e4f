"""A row of a benchmark's table: what was measured, and why what is missing could not be."""

import dataclasses
from collections.abc import Collection, Mapping

COSTS = {'parameters': 'parameters', 'multi_adds': 'multi-adds', 'activations': 'activations', 'latency': 'latency',
         'memory': 'memory'}


@dataclasses.dataclass
class Row:
    """A row of the table.

    Attributes:
        title: What the row is called: VapSR-S.
        scale: The scale.
        network: `network_g.type`; None for bicubic, for images and for published figures.
        option_file: The option file as it was named.
        weights: The checkpoint and its sha256.
        parameters, multi_adds, activations: Of the network; see `vapsr_arch.report.cost`.
        latency: Seconds, the median at 320x180 input.
        memory: Bytes, the peak at 320x180 input.
        scores: A metric's mean over a set: `scores['Set5']['psnr']`.
        images: A metric by image: `images['Set5']['baby']['psnr']`.
        files: The upscaled image by set and image.
        self_ensemble: Whether the network is tested with the mean over eight flips and rotations.
        source: Where the figures of a row that was not measured here were published.
        absent: Why a cell is empty for which nothing was to be measured, by set or by one of `COSTS`.
        failures: Why a cell is empty that could not be measured.
    """

    title: str
    scale: int
    network: str | None = None
    option_file: str | None = None
    weights: dict[str, str] | None = None
    parameters: int | None = None
    multi_adds: int | None = None
    activations: int | None = None
    latency: float | None = None
    memory: int | None = None
    scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    images: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
    files: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    self_ensemble: bool = False
    source: str | None = None
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """The title as the tables show it."""
        return f'{self.title} (published)' if self.source else self.title

    def is_of(self, titles: Collection[str]) -> bool:
        """Whether this row, or the network of whose self-ensemble it is, is called by one of these titles."""
        return self.title in titles or (self.self_ensemble and self.title.removesuffix('+') in titles)

    def take_images(self, set_name: str, images: Mapping[str, Mapping[str, float]]) -> None:
        """Takes the metrics of a set's images, and their means."""
        self.images[set_name] = {name: dict(metrics) for name, metrics in images.items()}
        rows = list(images.values())
        self.scores[set_name] = {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]} if rows else {}

    def notes(self) -> list[str]:
        """Why cells are empty: a sentence a reason."""
        cells: dict[str, list[str]] = {}
        for cell, reason in (self.absent | self.failures).items():
            cells.setdefault(reason, []).append(COSTS.get(cell, cell))
        return [f'{", ".join(names)}: {reason}' for reason, names in cells.items()]


def reason_of(error: Exception) -> str:
    """An error as a reason: the first line of what it says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
