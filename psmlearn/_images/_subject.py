# SPDX-License-Identifier: BSD-3-Clause
"""The subject of an image whose ground is not flat."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from psmlearn._images._tissue import enlarge, shrink

__all__ = ["subject_within"]

# The subject is found at this size, about, on planes smoothed by a part of the side.
_SIDE, _SIGMA = 256, 1 / 128
# Ground is darker than this part of Otsu's threshold, which also parts tissue from
# what is brightest in it; and it holds so much of the rim, at least.
_OF_OTSU, _RIM_SHARE = 0.35, 0.7
# One subject holds more than this part of what is bright: many cells are none.
_LEAST_OF_BRIGHT = 0.5
_LEAST_PIXELS = 16


def subject_within(image: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Leave out dim ground that is not flat: noise, a halo, an edge of the field.

    Such ground is taken for subject by what looks for flat ground, and half of the
    values by which the image is brought to one scale would be those of air. Where the
    rim of the subject is not dark, as that of tissue which fills the frame, or where
    what is bright is many things, nothing is left out.

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
    areas = np.bincount(parts.ravel())[1:]
    if areas.max() <= _LEAST_OF_BRIGHT * areas.sum():
        return subject
    largest = parts == 1 + np.argmax(areas)
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
