# SPDX-License-Identifier: BSD-3-Clause
"""The values of a subject on one scale, where sequences may be missing."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["center_and_scale"]

_LEAST_PIXELS = 16
# What is kept of a channel, in spreads below and above the median.
_BELOW, _ABOVE = 4.0, 6.0
_IQR_OF_NORMAL = 1.349
# A channel is missing where it has its least value over this part of the subject,
# in one piece; opened and closed by a part of the side.
_MISSING_SHARE, _OPENED, _CLOSED = 0.02, 1 / 64, 1 / 32


def center_and_scale(image: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Bring each channel to a median of 0 and a spread of 1 within the subject.

    Elsewhere it is 0, and so it is where a channel is missing in a part of the
    subject: sequences that were moved onto each other do not cover the same field.

    Parameters
    ----------
    image : ndarray of shape (height, width, n_channels)
    subject : ndarray of shape (height, width), bool

    Returns
    -------
    ndarray of shape (height, width, n_channels), float32
        From 4 spreads (by the quartiles) below to 6 above.
    """
    result = np.zeros(image.shape, np.float32)
    for channel in range(image.shape[2]):
        values = image[..., channel].astype(np.float64)
        known = subject & ~_missing(values, subject)
        if known.sum() < _LEAST_PIXELS:
            continue
        first, middle, third = np.percentile(values[known], [25, 50, 75])
        scale = (third - first) / _IQR_OF_NORMAL
        if scale <= 1e-6 * max(abs(first), abs(third)):
            scale = float(values[known].std()) or 1.0
        placed = ((values - middle) / scale).clip(-_BELOW, _ABOVE)
        result[..., channel] = np.where(known, placed, 0)
    return result


def _missing(values: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Tell where a channel shows nothing within the subject."""
    side = min(values.shape)
    lowest = subject & (values == values[subject].min(initial=np.inf))
    least = _MISSING_SHARE * subject.sum()
    if lowest.sum() <= least:
        return np.zeros_like(subject)
    lowest = ndimage.binary_opening(lowest, iterations=max(1, round(_OPENED * side)))
    if lowest.sum() <= least:
        return np.zeros_like(subject)
    return ndimage.binary_dilation(lowest, iterations=max(1, round(_CLOSED * side)))
