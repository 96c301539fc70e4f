"""Whether an LR image shows what its HR image does."""

import itertools

import cv2
import numpy as np

_NOISE = 8.0  # levels of 255: differences of plain areas, as noise and JPEG make them, that mean nothing
_UNLIKE = 0.5  # of the difference that two images have which show something else
_UNLIKE_COLOUR = 0.75  # likewise of a channel; one that JPEG has taken all details from has 0.5
_SMALLEST = 16  # LR pixels of either side, below which no shift is looked for


def difference(gt: np.ndarray, lq: np.ndarray, scale: int) -> str | None:
    """What sets an LR image far apart from its HR image, reduced by averaging; None if they show the same.

    Blur, noise, JPEG and the kernel of the downscaling are no difference; other content is, and the same content elsewhere or
    in other colours.

    Args:
        gt: H x W x 3, uint8.
        lq: H // scale x W // scale x 3, uint8.
        scale: HR size over LR size.

    Returns:
        The end of a sentence that begins with the LR image, or None.
    """
    height, width = lq.shape[:2]
    gt = gt[:height * scale, :width * scale]
    colours, given_colours = (cv2.blur(image.astype(np.float32), (3, 3))
                              for image in (cv2.resize(gt, (width, height), interpolation=cv2.INTER_AREA), lq))
    reduced, given = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (colours, given_colours))
    error = float(np.square(reduced - given).mean())
    if min(height, width) >= _SMALLEST and error > (_NOISE / 2) ** 2:
        # OpenCV multiplies its arguments by the window, in place.
        window = cv2.createHanningWindow((width, height), cv2.CV_32F)
        right, down = (round(shift) for shift in cv2.phaseCorrelate(reduced.copy(), given.copy(), window)[0])
        if (right or down) and max(abs(right), abs(down)) < min(height, width) // 2:
            rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height + min(0, -down))
            columns = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width + min(0, -right))
            if np.square(given[rows[0], columns[0]] - reduced[rows[1], columns[1]]).mean() < error / 4:
                return f'shows it shifted by about {down} rows and {right} columns'
    if error > _UNLIKE * (reduced.var() + given.var() + 2 * _NOISE ** 2):
        return 'shows something else'
    return _difference_of_colours(colours, given_colours)


def _difference_of_colours(reduced: np.ndarray, given: np.ndarray) -> str | None:
    """As for `difference`, of two images of one size whose grey is alike: H x W x 3, float32, [0, 255]."""
    errors = {order: float(np.square(reduced[..., order] - given).mean()) for order in itertools.permutations(range(3))}
    best, error = min(errors, key=errors.get), errors[0, 1, 2]
    if error > (_NOISE / 2) ** 2 and errors[best] < error / 3:
        return 'has red and blue swapped' if best == (2, 1, 0) else 'has its channels in another order'
    colour = float(np.square(reduced - reduced.mean(2, keepdims=True)).mean())  # JPEG may take what little there is
    if colour > (_NOISE / 2) ** 2 and np.ptp(given, axis=2).max() < 1:
        return 'is grey'
    spread = reduced.var((0, 1)) + given.var((0, 1)) + 2 * _NOISE ** 2
    return 'has other colours' if (np.square(reduced - given).mean((0, 1)) > _UNLIKE_COLOUR * spread).any() else None
