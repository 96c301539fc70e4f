"""Which input pixels a network uses: effective receptive fields, local attribution maps, and their figure.

The effective receptive field is that of Wenjie Luo et al., "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NIPS 2016, arXiv 1701.04128. Local attribution maps and the diffusion index are those of
Jinjin Gu and Chao Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021, arXiv 2011.11036,
with the settings of the authors' code, https://github.com/X-Lowlevel-Vision/LAM_Demo.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torch.nn import functional as F

from vapsr_arch.errors import VapsrError
from vapsr_arch.files import written_whole
from vapsr_arch.report.comparison import Patch

SIGMA = 1.2  # of the Gaussian where the path of blurred images begins
KERNEL_SIZE = 9
STEPS = 50
STEPS_AT_ONCE = 2  # more need memory and gain no time
FRACTION = 0.95  # of the gradient, for the side of a receptive field
COLUMNS = 4  # of the figure
LEAST_GRADIENT = 1e-4  # that the figure shows, relative to the largest
LEAST_CONTRIBUTION = 1e-3


class NetworkFields(NamedTuple):
    """What is drawn of one network: its name, effective receptive field and local attribution map."""

    name: str
    erf: np.ndarray
    lam: np.ndarray


def effective_receptive_field(network: nn.Module, patches: Iterable[Tensor]) -> np.ndarray:
    """How much each input pixel moves the centre pixel of the output, on the average of several patches.

    Args:
        network: The network.
        patches: C x H x W each, all of one size, values in [0, 1], on the network's device. With odd H and W the centre of
            the output lies in the middle of the input.

    Returns:
        H x W: the absolute gradient of the output's centre pixel, its channels added up, summed over the input's channels.
    """
    network = _frozen(network)
    gradients = []
    for patch in patches:
        patch = patch.detach().requires_grad_()
        output = network(patch[None])
        centre = output[..., output.shape[-2] // 2, output.shape[-1] // 2].sum()
        gradient, = torch.autograd.grad(centre, patch)
        gradients.append(gradient.abs().sum(0))
    return torch.stack(gradients).mean(0).cpu().numpy()


def receptive_field_side(erf: np.ndarray, fraction: float = FRACTION) -> int:
    """The side, in pixels, of the smallest square around the centre that holds a fraction of a receptive field's sum."""
    rows, columns = np.indices(erf.shape)
    ring = np.maximum(abs(rows - erf.shape[0] // 2), abs(columns - erf.shape[1] // 2))
    inside = np.bincount(ring.ravel(), erf.ravel().astype(np.float64)).cumsum()
    return 2 * int(np.argmax(inside >= fraction * inside[-1])) + 1


def local_attribution_map(network: nn.Module, image: Tensor, window: Patch) -> np.ndarray:
    """How much each input pixel contributes to the edges and textures in a window of the output.

    Args:
        network: The network.
        image: C x H x W, more than 4 pixels high and wide, values in [0, 1], on the network's device.
        window: A part of the output, 2x2 pixels and more; the paper's are 16x16.

    Returns:
        H x W: the absolute sum over the channels of the path-integrated gradients.

    Raises:
        VapsrError: The window is too small or does not lie in the output.
    """
    return integrated_gradients(network, image, lambda output: gradient_detector(output, window)).sum(0).abs().cpu().numpy()


def integrated_gradients(network: nn.Module, image: Tensor, detector: Callable[[Tensor], Tensor],
                         steps: int = STEPS) -> Tensor:
    """The paper's path integral from a blurred image to the image itself, along ever less blurred ones.

    Args:
        network: The network.
        image: As for `local_attribution_map`.
        detector: Takes outputs, N x C x H x W, and gives a number for all of them together.
        steps: Into how many the path is divided.

    Returns:
        C x H x W: contributions whose sum tends, with more steps, to the difference that the blur makes to the detector.
    """
    network = _frozen(network)
    path = torch.stack([_blurred(image, sigma) for sigma in np.linspace(SIGMA, 0, steps + 1)])
    total = torch.zeros_like(image)
    for images, changes in zip(path[1:].split(STEPS_AT_ONCE), path.diff(dim=0).split(STEPS_AT_ONCE)):
        images.requires_grad_()
        gradients, = torch.autograd.grad(detector(network(images)), images)
        total += (gradients * changes).sum(0)
    return total


def gradient_detector(output: Tensor, window: Patch) -> Tensor:
    """The paper's detector of edges and textures: the sum of the gradient's magnitude over a window.

    Args:
        output: N x C x H x W.
        window: The part looked at.

    Raises:
        VapsrError: The window is too small or does not lie in the output.
    """
    x, y, width, height = window
    if not (x >= 0 and y >= 0 and width >= 2 and height >= 2 and x + width <= output.shape[-1]
            and y + height <= output.shape[-2]):
        raise VapsrError(f'a window of {width}x{height} pixels at {x}, {y} cannot be attributed: it must be 2x2 at least and '
                         f'lie in the output, {output.shape[-1]}x{output.shape[-2]} pixels')
    output = output[..., y:y + height, x:x + width]
    down, right = (output.diff(dim=dim)[..., :height - 1, :width - 1] for dim in (-2, -1))
    return (down.square() + right.square() + 1e-12).sqrt().sum()  # the root has no derivative at 0


def diffusion_index(attribution: np.ndarray) -> float:
    """The paper's diffusion index, (1 - Gini coefficient) x 100: the larger, the more pixels are involved.

    Args:
        attribution: A local attribution map. Only those of images of one size can be compared.

    Returns:
        100 where all pixels contribute alike; 100 / number of pixels where one contributes all.

    Raises:
        VapsrError: No pixel contributes, as in an image of one colour.
    """
    contributions = np.sort(attribution, axis=None).astype(np.float64)
    total, count = contributions.sum(), contributions.size
    if not total:
        raise VapsrError('no pixel of the image contributes to the window: choose an image or a window with some detail')
    gini = ((2 * np.arange(1, count + 1) - count - 1) * contributions).sum() / (count * total)
    return float(100 * (1 - gini))


def _frozen(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(False)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    x = torch.arange(KERNEL_SIZE, dtype=image.dtype, device=image.device) - KERNEL_SIZE // 2
    kernel = torch.exp(-x.square() / (2 * (sigma + 1e-5) ** 2))  # sigma 0 leaves the image as it is
    kernel = (kernel / kernel.sum()).expand(len(image), 1, 1, -1)
    padded = F.pad(image[None], [KERNEL_SIZE // 2] * 4, mode='reflect')
    rows = F.conv2d(padded, kernel, groups=len(image))
    return F.conv2d(rows, kernel.transpose(2, 3), groups=len(image))[0]


def draw_receptive_fields(networks: Sequence[NetworkFields], image: np.ndarray, window: Patch, scale: int,
                          path: str | os.PathLike) -> None:
    """Draws a column a network: the effective receptive field, and below it the local attribution map on the image.

    Receptive fields are drawn relative to each one's largest gradient, on one logarithmic scale of colours, with the square
    that holds 95% of the gradient. Contributions are red on the image, with the window around which they lie; their opacity
    is logarithmic, from a thousandth of the largest one to it.

    Args:
        networks: What to draw; more than four are continued below.
        image: The input of the attribution: H x W x 3, uint8, RGB.
        window: The window of the attribution.
        scale: The networks' scale.
        path: The PNG to write, about 900 pixels wide.
    """
    columns = min(len(networks), COLUMNS)
    lines = math.ceil(len(networks) / columns)
    panel = 7.2 / columns
    heights = [panel * 1.05, panel * image.shape[0] / image.shape[1]] * lines
    figure = Figure(figsize=(7.5, sum(heights) + 0.6 * lines), dpi=120, layout='constrained')
    axes = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, network in enumerate(networks):
        line, column = divmod(index, columns)
        drawn = _draw_erf(axes[2 * line, column], network)
        _draw_lam(axes[2 * line + 1, column], network, image, Rectangle(
            (window.x / scale - 0.5, window.y / scale - 0.5), window.width / scale, window.height / scale))
    figure.colorbar(drawn, ax=axes, fraction=0.02, pad=0.01, aspect=40, label='gradient, relative to the largest')
    with written_whole(path) as temporary:
        figure.savefig(temporary, format='png')


def _draw_erf(axis: Axes, network: NetworkFields) -> AxesImage:
    axis.set_title(network.name, fontsize=12, fontweight='bold', parse_math=False)
    drawn = axis.imshow(network.erf / network.erf.max(), cmap='magma', norm=LogNorm(LEAST_GRADIENT, 1, clip=True))
    side = receptive_field_side(network.erf)
    rows, columns = network.erf.shape
    axis.add_patch(Rectangle((columns // 2 - side / 2, rows // 2 - side / 2), side, side, fill=False, edgecolor='white'))
    _caption(axis, f'{FRACTION:.0%} within {side}x{side}')
    return drawn


def _draw_lam(axis: Axes, network: NetworkFields, image: np.ndarray, window: Rectangle) -> None:
    axis.imshow(image.mean(axis=2), cmap='gray', vmin=-255, vmax=255)  # pale, for the red to stand out
    relative = network.lam / network.lam.max()
    opacity = LogNorm(LEAST_CONTRIBUTION, 1, clip=True)(relative).filled().clip(0, 1)
    axis.imshow(relative, cmap=ListedColormap(['red']), alpha=opacity)
    window.set(fill=False, edgecolor='blue', linewidth=1.5)
    axis.add_patch(window)
    _caption(axis, f'diffusion index {diffusion_index(network.lam):.1f}')


def _caption(axis: Axes, text: str) -> None:
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(text, fontsize=9)
