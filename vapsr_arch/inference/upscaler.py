"""The Upscaler: images in, upscaled images out, whatever their size."""

import os
import sys
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vapsr_arch.archs.common import tiles
from vapsr_arch.archs.common.self_ensemble import self_ensembled
from vapsr_arch.engines.loading import Engine, load_engine
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference import tile_sizes
from vapsr_arch.memory import is_out_of_memory
from vapsr_arch.weights.names import default_weights

AUTO_HALO = 48  # what is further away changes few pixels, by one grey level: docs/upscale.md has the measurements
_BAND = 2**21  # pixels of a result that become integers at a time
_BLEEDING = 64  # pixels from which a hidden colour could bleed into what is seen: further ones than a usual halo changes nothing
_LUMA = torch.tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)


class Upscaler:
    """Upscales images with a network, tile by tile.

    Threads may share an Upscaler.

    Args:
        weights: A name (`VapSR-S_x4` is shipped); or a file: a checkpoint of any network of this project or of one that
            spandrel knows, or ONNX; or a network of torch, N x C x H x W in [0, 1] to N x C x sH x sW with C 1 or 3, such as
            `pipeline.loading.load_network(opt='options/test/MINE/test_mine_x4.yml')` gives. None for the shipped weights of
            the scale, for images that were not compressed with loss.
        scale: The scale; None for that of the weights, or 4 without any. PAN's weights for x3 look like those for x2, and
            need it.
        param_key: The key that a checkpoint's weights lie under; None for the EMA's, if there are any.
        device: Where to run; 'auto' takes a GPU if there is one.
        precision: What the network computes in.
        engine: What runs the network.
        tile: Pixels of the input that are upscaled at a time, of either side and without their halo; 'auto' for as many
            as half of the free memory suffices for, or 1.5 GiB of a CPU's, up to 2048x2048 with their halo, or for the whole
            image where spandrel discourages tiles for the network. When memory runs out, the Upscaler continues with half
            as many, unless it is the whole image that is to be seen.
        halo: Pixels of the input that the network sees around a tile. 'full' for all that it looks at, so that tiling
            changes nothing; 'auto' for fewer, which changes next to nothing.
        self_ensemble: Take the mean over the eight flips and rotations, at eight times the cost.
        log: Is called with a line that says which weights of a checkpoint are taken, or that tiles become smaller.

    Attributes:
        engine: What runs the network.
        scale: Output size over input size.

    Raises:
        ValueError: `tile` is below 1 or `halo` below 0.
        VapsrError: There are no such weights, they take neither RGB nor grey, or cannot run so.
    """

    def __init__(self, weights: str | os.PathLike | nn.Module | None = None, *, scale: int | None = None,
                 param_key: str | None = None,
                 device: Literal['auto', 'cpu', 'cuda', 'mps'] = 'auto', precision: Literal['fp32', 'bf16', 'fp16'] = 'fp32',
                 engine: Literal['torch', 'compile', 'openvino', 'onnxruntime'] = 'torch',
                 tile: int | Literal['auto'] = 'auto', halo: int | Literal['auto', 'full'] = 'auto',
                 self_ensemble: bool = False, log: Callable[[str], None] | None = None) -> None:
        if (tile != 'auto' and tile < 1) or (isinstance(halo, int) and halo < 0):
            raise ValueError(f'tile must be 1 or more and halo 0 or more, not {tile} and {halo}')
        self.engine: Engine = load_engine(default_weights(scale) if weights is None else weights, scale=scale,
                                          param_key=param_key, device=device, precision=precision, engine=engine, log=log)
        self.scale = self.engine.scale
        if self.engine.num_in_ch not in (1, 3):
            raise VapsrError(f'the network takes {self.engine.num_in_ch} channels; images need one for 3, RGB, or 1, grey')
        self._halo = halo
        self._self_ensemble = self_ensemble
        self._log = log or (lambda message: None)
        self._window: int | None = None  # the side of what the network may see, once it is measured
        self._tile = tile if tile != 'auto' else None if self.engine.tiles else sys.maxsize

    def __call__(self, image: np.ndarray, progress: Callable[[float], None] | None = None,
                 canvas: np.ndarray | None = None) -> np.ndarray:
        """Upscales an image.

        Grey goes through the network as RGB, and the luma (BT.601) of what comes out is kept; through a network for grey,
        the channels of RGB go one by one. Alpha goes through it as
        grey, limited to the range of the 3x3 pixels around: edges become as sharp as those of colours, without ringing,
        and what is fully transparent or opaque stays so. Colours under fully transparent pixels, which nobody sees, are
        replaced by the nearest ones that are seen, if there are some within 64 pixels, so that they do not bleed into edges.

        Args:
            image: H x W (grey), or H x W x C with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels; uint8 or
                uint16, of the type's whole range.
            progress: Is called after each tile with the share that is done, 0 to 1.
            canvas: What is filled and returned, H x W x C; None for a new array.

        Returns:
            The image, scale times as high and as wide; channels and type are those of `image`.

        Raises:
            ValueError: The array is not such an image.
            VapsrError: There is not enough memory, or the network's result is not finite.
        """
        planes = image[..., None] if image.ndim == 2 else image
        if planes.ndim != 3 or planes.shape[2] not in (1, 2, 3, 4) or 0 in planes.shape \
                or planes.dtype not in (np.uint8, np.uint16):
            raise ValueError(f'the image must be H x W or H x W x 1 to 4, uint8 or uint16, not {image.dtype} of shape '
                             f'{" x ".join(map(str, image.shape))}')
        height, width, channels = planes.shape
        progress = progress or (lambda share: None)
        try:
            if canvas is None:
                # Filled, so that its memory does not count as free when that of tiles is measured.
                canvas = np.full((height * self.scale, width * self.scale, channels), 0, planes.dtype)
        except MemoryError:
            raise VapsrError(f'there is not enough memory for the result, {width * self.scale}x{height * self.scale} '
                             f'pixels') from None
        self._upscale(planes, canvas, progress)
        return canvas[..., 0] if image.ndim == 2 else canvas

    def at_a_time(self, height: int, width: int) -> int:
        """How many images of a size may be upscaled at a time, by as many threads.

        As many as have no more pixels than an image that is upscaled in one piece: they take some more memory than that, as the
        C library keeps some for each thread. One, where the engine does not gain by it, or where an image is upscaled in tiles.
        """
        tile = self._tile or sys.maxsize
        side = self._window or tile_sizes.UNMEASURED[self._device().type]
        if not self.engine.side_by_side or max(height, width) > tile:
            return 1
        return max(1, side**2 // (height * width))

    def _device(self) -> torch.device:
        """Where the engine computes; ONNX engines do not say, and do it on the CPU."""
        return torch.device(getattr(self.engine, 'device', 'cpu'))

    def _tiles_for(self, image: np.ndarray) -> list[tiles.Tile]:
        """Cuts an image, H x W x C, into the tiles asked for, or those that the free memory allows.

        What windows take of it is measured with the first image that is larger than what fits in any case.
        """
        height, width = image.shape[:2]
        if self._tile is not None:
            return tiles.tiles(height, width, self._tile, self._halo_for(height, width, self._tile), self.engine.min_size)
        device = self._device()
        side = self._window or tile_sizes.UNMEASURED[device.type]
        if self._window is None and height * width > side ** 2:
            self._window = side = self._measured_window(image, device) or side
        if height * width <= side ** 2:
            return tiles.tiles(height, width, max(height, width), 0)
        return tiles.tiles_of_area(height, width, side ** 2, self._halo_for(height, width, side), self.engine.min_size)

    def _measured_window(self, image: np.ndarray, device: torch.device) -> int | None:
        """The side of the largest window for the free memory; None where the system does not report what one takes."""
        def run(seen: np.ndarray) -> None:
            height, width, channels = seen.shape
            whole, = tiles.tiles(height, width, max(height, width), 0)
            self._upscale_tile(seen, np.empty((height * self.scale, width * self.scale, channels), seen.dtype), whole)

        run(image[:64, :64])  # loads, or compiles, what is to be once
        seen = image[:tile_sizes.MEASURED, :tile_sizes.MEASURED]
        use = tile_sizes.measured(lambda: run(seen), device)
        return use and tile_sizes.fitting_window(use, seen.shape[0] * seen.shape[1], device)

    def _upscale(self, image: np.ndarray, canvas: np.ndarray, progress: Callable[[float], None]) -> None:
        """Fills `canvas` from `image`, with smaller tiles if memory needs it; arguments as for `_upscale_tile`."""
        height, width = image.shape[:2]
        tile = tile_sizes.MEASURED  # if memory runs out while that is measured
        while True:
            try:
                parts, done = self._tiles_for(image), 0
                tile = min(self._tile or max(span.last - span.first for part in parts for span in part), max(height, width))
                for part in parts:
                    self._upscale_tile(image, canvas, part)
                    done += part.area
                    progress(done / (height * width))
                return
            except Exception as error:  # each runtime has its own kinds
                if not is_out_of_memory(error):
                    raise
            if self._tile == sys.maxsize:
                raise VapsrError('there is not enough memory for the whole image, which this network is to see at once: take a '
                                 'smaller image, or allow tiles all the same by --tile N')
            smaller = tile // 2
            if smaller < tiles.SMALLEST:
                raise VapsrError(f'there is not enough memory to upscale even {2 * smaller}x{2 * smaller} pixels at a time')
            if self._tile is None or smaller < self._tile:
                self._tile = smaller
                self._log(f'memory ran out: continuing with tiles of {smaller} pixels in place of {tile}')
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

    def _halo_for(self, height: int, width: int, tile: int) -> int:
        reach = self.engine.halo
        if self._halo != 'full':
            halo = AUTO_HALO if self._halo == 'auto' else self._halo
            return halo if reach is None else min(halo, reach)
        if reach is None and max(height, width) > tile:
            raise VapsrError(f'an output pixel of this network depends on the whole image, which does not fit into a tile of '
                             f'{tile} pixels: there is no full halo; give --halo N, or a larger --tile')
        return reach or 0

    def _upscale_tile(self, image: np.ndarray, canvas: np.ndarray, tile: tiles.Tile) -> None:
        """Upscales one tile.

        Args:
            image: H x W x 1 to 4.
            canvas: The upscaled image, of which the tile's part is written.
            tile: Where.
        """
        rows, columns = tile
        seen = np.s_[rows.start:rows.stop, columns.start:columns.stop]
        kept = np.s_[rows.first:rows.last, columns.first:columns.last]
        target = canvas[tuple(slice(part.start * self.scale, part.stop * self.scale) for part in kept)]
        offset = (rows.first - rows.start) * self.scale, (columns.first - columns.start) * self.scale
        if image.shape[2] in (1, 3):
            self._fill(target, image[seen], offset)
            return
        self._fill(target[..., :-1], _visible_colours(image, *seen), offset)
        low, high = _range_around(image[..., -1], *kept)
        if np.array_equal(low, high):
            target[..., -1] = low.repeat(self.scale, 0).repeat(self.scale, 1)
        else:
            self._fill(target[..., -1:], image[seen][..., -1:], offset, (low, high))

    def _fill(self, target: np.ndarray, seen: np.ndarray, offset: tuple[int, int],
              limits: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Fills an array with what the network makes of a window; some rows at a time, as floats are four times as many bytes.

        Args:
            target: H x W x 1 or 3.
            seen: The window, H x W x 1 or 3.
            offset: Where `target` begins in the upscaled window.
            limits: The smallest and the largest value that each of the window's pixels in `target` may become; None for any.
        """
        top, left = offset
        height, width, channels = target.shape
        result = self._run(self._normalised(seen))[:, :, top:top + height, left:left + width]
        band = self.scale * max(1, _BAND // (width * self.scale))
        for start in range(0, height, band):
            part = result[:, :, start:start + band]
            if channels < part.shape[1]:
                part = (part * _LUMA.to(part.device)).sum(1, keepdim=True)
            values = _quantised(part[0].permute(1, 2, 0), seen.dtype)
            if limits:
                of_these = slice(start // self.scale, (start + band) // self.scale)
                low, high = (limit[of_these].repeat(self.scale, 0).repeat(self.scale, 1)[..., None] for limit in limits)
                values = values.clip(low, high)
            target[start:start + band] = values

    @staticmethod
    def _normalised(image: np.ndarray) -> np.ndarray:
        """An image of integers as float32 in [0, 1]."""
        return np.divide(image, np.iinfo(image.dtype).max, dtype=np.float32)

    def _run(self, pixels: np.ndarray) -> Tensor:
        """Runs the network on H x W x 1 or 3 values in [0, 1]; returns 1 x 3 x sH x sW, or as many channels as there were
        from a network for grey, not clipped."""
        height, width = pixels.shape[:2]
        missing = [(0, max(0, self.engine.min_size - size)) for size in (height, width)]
        if any(more for _, more in missing):
            pixels = np.pad(pixels, (*missing, (0, 0)), mode='edge')
        x = torch.from_numpy(pixels).permute(2, 0, 1)
        x = x[None].expand(-1, 3, -1, -1) if self.engine.num_in_ch == 3 else x[:, None]
        result = self_ensembled(self.engine, x) if self._self_ensemble else self.engine(x)
        if result.shape[1] != x.shape[1]:
            raise VapsrError(f'the network makes {result.shape[1]} channels of {x.shape[1]}')
        if not result.sum().isfinite():
            raise VapsrError('the network\'s result is not finite: take --precision fp32, or other weights')
        result = result[:, :, :height * self.scale, :width * self.scale]
        return result if self.engine.num_in_ch == 3 else result.transpose(0, 1)


def _quantised(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Values about [0, 1] as uint8 or uint16, clamped and rounded on their device, of which integers leave fewer bytes."""
    values = values.clamp(0, 1).mul_(np.iinfo(dtype).max).round_()
    if dtype == np.uint8:
        return values.to(torch.uint8).cpu().numpy()
    return values.to(torch.int32).to(torch.int16).cpu().numpy().view(np.uint16)  # not every device has uint16


def _visible_colours(image: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """A window of an image without its alpha: in place of colours that are fully transparent, the nearest visible ones.

    So it is where there are some within `_BLEEDING` pixels, in the window or around it: windows that overlap agree.
    """
    first = [max(0, part.start - _BLEEDING) for part in (rows, columns)]
    around = image[first[0]:rows.stop + _BLEEDING, first[1]:columns.stop + _BLEEDING]
    within = tuple(slice(part.start - start, part.stop - start) for part, start in zip((rows, columns), first))
    colours, hidden = around[..., :-1], around[..., -1] == 0
    if not hidden[within].any() or hidden.all():
        return colours[within]
    import cv2  # a tenth of the command's start, for few images
    distance, nearest = cv2.distanceTransformWithLabels(hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5,
                                                        labelType=cv2.DIST_LABEL_PIXEL)
    by_label = np.empty((nearest.max() + 1, colours.shape[2]), image.dtype)
    by_label[nearest[~hidden]] = colours[~hidden]
    return np.where(distance[within][..., None] > _BLEEDING, colours[within], by_label[nearest[within]])


def _range_around(alpha: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest of the 3x3 pixels around each of a part of H x W: like that part, both."""
    import cv2
    first = [max(0, part.start - 1) for part in (rows, columns)]
    around = np.ascontiguousarray(alpha[first[0]:rows.stop + 1, first[1]:columns.stop + 1])
    within = tuple(slice(part.start - start, part.stop - start) for part, start in zip((rows, columns), first))
    window = np.ones((3, 3), np.uint8)
    return cv2.erode(around, window)[within], cv2.dilate(around, window)[within]
