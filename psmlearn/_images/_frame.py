# SPDX-License-Identifier: BSD-3-Clause
"""Black borders that an export or a stitched scan leaves around an image."""

from __future__ import annotations

import numpy as np

# A border's rows and columns are darker than this, but for this part of their pixels:
# nuclei are not, side by side along a whole edge.
_BLACK = 0.15
_STRAY = 0.05


def inner_box(image: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a brightfield image within its black border.

    Parameters
    ----------
    image : ndarray of shape (height, width, n_channels), float
        Values in [0, 1].

    Returns
    -------
    rows, columns : slice
        The whole image where it has no border, or is black all over.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._frame import inner_box
    >>> image = np.full((20, 30, 3), 0.9)
    >>> image[:2] = 0
    >>> inner_box(image)
    (slice(2, 20, None), slice(0, 30, None))
    """
    brightest = image.max(axis=-1)
    box = tuple(
        _between(np.quantile(brightest, 1 - _STRAY, axis=axis) < _BLACK)
        for axis in (1, 0)
    )
    return box[0], box[1]


def is_black(image: np.ndarray) -> bool:
    """Tell whether an image is black all over, but for stray pixels."""
    return bool(np.quantile(image.max(axis=-1), 1 - _STRAY) < _BLACK)


def _between(is_black: np.ndarray) -> slice:
    """Cut what is black at both ends of a side."""
    if is_black.all():
        return slice(0, len(is_black))
    return slice(
        int(np.argmin(is_black)), len(is_black) - int(np.argmin(is_black[::-1]))
    )
