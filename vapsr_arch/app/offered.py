"""The weights that the page offers; each is loaded when first used."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from vapsr_arch.data.image_formats import is_lossy
from vapsr_arch.errors import OptionsError, VapsrError
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.weights.names import DEFAULT_SCALE, default_weights, find_weights, shipped_weights

AUTOMATIC = 'automatic'  # the choice that goes by the kind of the file, as `vapsr upscale` does


class OfferedWeights:
    """Shipped weights, and those named when the page is started.

    Args:
        given: Names or files of weights, as for `Upscaler`. They are loaded at once, which shows their scale.
        device: Where to run, as for `Upscaler`.
        log: As for `Upscaler`.

    Attributes:
        scales: The scales that there are weights for, ascending.
        first: The scale and the name to begin with: those of the first given weights, else the usual ones.

    Raises:
        VapsrError: Given weights cannot be loaded, two of them have the same name, or there are no weights at all.
    """

    def __init__(self, given: Sequence[str] = (), device: str = 'auto', log: Callable[[str], None] | None = None) -> None:
        self._device, self._log = device, log
        self._loading = threading.Lock()
        self._upscalers: dict[Path, Upscaler] = {}
        self._by_scale: dict[int, dict[str, Path]] = {}
        for name, scale in shipped_weights().items():
            self._by_scale.setdefault(scale, {})[name] = find_weights(name)
        self._automatic = [scale for scale, names in self._by_scale.items() if f'VapSR-S_x{scale}' in names]
        named = [self._add(weights) for weights in given]
        if not self._by_scale:
            raise VapsrError('there are no shipped weights here: give others with --weights')
        self.scales = sorted(self._by_scale)
        usual = DEFAULT_SCALE if DEFAULT_SCALE in self.scales else self.scales[-1]
        self.first = named[0] if named else (usual, self.names(usual)[0])

    def names(self, scale: int) -> list[str]:
        """What there is to choose from for a scale: AUTOMATIC, where weights are shipped for it, and names."""
        return [AUTOMATIC] * (scale in self._automatic) + list(self._by_scale[scale])

    def chosen(self, scale: int, name: str, image: Path) -> tuple[str, Upscaler]:
        """The weights for an image: their name, and what upscales with them.

        Args:
            scale: One of `scales`.
            name: One of `names(scale)`.
            image: The image's file, whose kind decides where the name is AUTOMATIC.

        Raises:
            VapsrError: The weights cannot be loaded, or there are none of that name.
        """
        if name == AUTOMATIC:
            path = default_weights(scale, photo=is_lossy(image))
        elif name in self._by_scale.get(scale, ()):
            path = self._by_scale[scale][name]
        else:
            raise OptionsError(f'there are no weights {name} for x{scale}: choose others')
        return path.stem if name == AUTOMATIC else name, self._upscaler(path)

    def _add(self, weights: str) -> tuple[int, str]:
        path = find_weights(weights)
        scale = self._upscaler(path).scale
        names = self._by_scale.setdefault(scale, {})
        name = next((name for name, known in names.items() if known == path), path.name)
        if names.setdefault(name, path) != path:
            raise OptionsError(f'--weights: two files are called {name}: rename one of them')
        return scale, name

    def _upscaler(self, path: Path) -> Upscaler:
        with self._loading:
            if path not in self._upscalers:
                self._upscalers[path] = Upscaler(path, device=self._device, log=self._log)
            return self._upscalers[path]
