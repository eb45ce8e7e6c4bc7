# SPDX-License-Identifier: BSD-3-Clause
"""The subject of an image whose ground is not flat, and its values on one scale."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from psmlearn._images._tissue import enlarge, shrink

__all__ = ["center_and_scale", "subject_within"]

# The subject is found at this size, about, on planes smoothed by a part of the side.
_SIDE, _SIGMA = 256, 1 / 128
# Ground is darker than this part of Otsu's threshold, which also parts tissue from
# what is brightest in it; and it holds so much of the rim, at least.
_OF_OTSU, _RIM_SHARE = 0.35, 0.7
_LEAST_PIXELS = 16
# What is kept of a channel, in spreads below and above the median.
_BELOW, _ABOVE = 4.0, 6.0
_IQR_OF_NORMAL = 1.349
# A channel is missing where it has its least value over this part of the subject,
# in one piece; opened and closed by a part of the side.
_MISSING_SHARE, _OPENED, _CLOSED = 0.02, 1 / 64, 1 / 32


def subject_within(image: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Leave out dim ground that is not flat: noise, a halo, an edge of the field.

    Such ground is taken for subject by what looks for flat ground, and half of the
    values by which the image is brought to one scale would be those of air. Where the
    rim of the subject is not dark, as that of tissue which fills the frame, nothing
    is left out.

    Parameters
    ----------
    image : ndarray of shape (height, width, n_channels)
        Finite values of any range.
    subject : ndarray of shape (height, width), bool
        Within what to look; see `psmlearn._images._standardise.foreground`.

    Returns
    -------
    subject : ndarray of shape (height, width), bool
    """
    factor = max(1, min(image.shape[:2]) // _SIDE)
    within = shrink(subject[..., None].astype(np.float32), factor)[..., 0] > 0.5
    if within.sum() < _LEAST_PIXELS:
        return subject
    level = _level(image, within, factor)
    values = level[within]
    if np.ptp(values) == 0:
        return subject
    bright = within & (level > _OF_OTSU * threshold_otsu(values))
    rim = within & ~ndimage.binary_erosion(within)
    if bright[rim].mean() > 1 - _RIM_SHARE:
        return subject
    parts, n_parts = ndimage.label(ndimage.binary_fill_holes(bright))
    if n_parts == 0:
        return subject
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return subject & enlarge(largest, factor, subject.shape)


def _level(image: np.ndarray, within: np.ndarray, factor: int) -> np.ndarray:
    """Return the smoothed mean of the channels, each from 0 to 1."""
    planes = shrink(image, factor).astype(np.float64)
    total = np.zeros(within.shape)
    n_planes = 0
    for plane in np.moveaxis(planes, -1, 0):
        low, high = np.percentile(plane[within], [1, 99])
        if high > low:
            total += ((plane - low) / (high - low)).clip(0, 1)
            n_planes += 1
    sigma = _SIGMA * min(within.shape)
    return ndimage.gaussian_filter(total / max(1, n_planes), sigma)


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
