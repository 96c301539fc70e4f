"""Whether an LR image shows what its HR image does."""

import cv2
import numpy as np

_NOISE = 8.0  # levels of 255: differences of plain areas, as noise and JPEG make them, that mean nothing
_UNLIKE = 0.5  # of the difference that two images have which show something else
_SMALLEST = 16  # LR pixels of either side, below which no shift is looked for


def difference(gt: np.ndarray, lq: np.ndarray, scale: int) -> str | None:
    """What sets an LR image far apart from its HR image, reduced by averaging; None if they show the same.

    Blur, noise, JPEG and the kernel of the downscaling are no difference; other content is, and the same content elsewhere.

    Args:
        gt: H x W x 3, uint8.
        lq: H // scale x W // scale x 3, uint8.
        scale: HR size over LR size.

    Returns:
        The end of a sentence that begins with the LR image, or None.
    """
    height, width = lq.shape[:2]
    gt = gt[:height * scale, :width * scale]
    reduced, given = (cv2.blur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32), (3, 3))
                      for image in (cv2.resize(gt, (width, height), interpolation=cv2.INTER_AREA), lq))
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
    return None
