# SPDX-License-Identifier: BSD-3-Clause
"""Images of any range brought to one, by the values of the subject they show."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from psmlearn._images._tissue import enlarge, shrink

# Where the median of the subject comes to lie, and how many of its robust standard
# deviations below and above are kept.
_BELOW, _ABOVE = 4.0, 6.0
MIDDLE = _BELOW / (_BELOW + _ABOVE)

_IQR_OF_NORMAL = 1.349
_LEAST_CONSTANT = 0.2
# Empty ground is flat: along the border its median deviation is at most this part of
# the contrast of the image. What differs by no more than the width, in such deviations
# or parts of the contrast, is ground; it must hold so much of the border.
_FLAT = 0.05
_WIDTH_IN_SPREADS = 6.0
_LEAST_WIDTH = 0.08
_BORDER_SHARE = 0.7
_SIDE = 256
_SIGMA = 2.0
_MOST_VALUES = 1 << 18
# Nearer than this part of the values, numbers differ by rounding alone.
_ROUNDING = 1e-6


def foreground(image: np.ndarray) -> np.ndarray:
    """Tell the subject of an image from empty ground around it.

    Empty ground is dark (a scan's air) or bright (a slide's glass), flat, and holds
    the border; or it is the constant that is the lowest value of every channel, and
    covers a fifth of the image and most of its border. An image of neither kind is
    all subject: one that is constant, or whose tissue fills the frame.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        Finite values of any range.

    Returns
    -------
    subject : ndarray of shape (height, width), bool
        One region without holes, or what differs from the constant.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._standardise import foreground
    >>> scan = np.random.default_rng(0).normal(0, 1, (64, 64, 1))
    >>> scan[20:40, 20:50] += 50
    >>> subject = foreground(scan)
    >>> bool(subject[30, 30]), bool(subject[5, 5])
    (True, False)
    """
    image = _with_channels(image)
    low = image.min(axis=(0, 1))
    outside = (image == low).all(axis=-1)
    if outside.all():
        return outside
    if outside.mean() >= _LEAST_CONSTANT and _border(outside).mean() > 0.5:
        return _filled(~outside)
    factor = max(1, min(image.shape[:2]) // _SIDE)
    level = _level(image, factor)
    subject = _differing(level)
    if subject is None:
        return np.ones(image.shape[:2], bool)
    return enlarge(subject, factor, image.shape[:2])


def standardise(image: np.ndarray, subject: np.ndarray | None = None) -> np.ndarray:
    """Bring each channel to one range by its values within the subject.

    The median comes to lie at 0.4 and a robust standard deviation (by the quartiles)
    is 0.1, so that what a * image + b gives is the same for all a > 0 and b. Values
    beyond [0, 1] are clipped, and what is outside the subject is 0.4.

    Parameters
    ----------
    image : ndarray of shape (height, width[, n_channels])
        Finite values of any range and any dtype of real numbers.
    subject : ndarray of shape (height, width), bool, default=None
        Where to measure; None takes that of :func:`foreground`.

    Returns
    -------
    standardised : ndarray of shape (height, width, n_channels), float32
        In [0, 1]; channels without contrast come out constant.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._standardise import standardise
    >>> image = np.random.default_rng(0).normal(size=(64, 64, 2))
    >>> same = standardise(image * [3, 500] + [-7, 1000])
    >>> bool(np.allclose(standardise(image), same, atol=1e-5))
    True
    """
    image = _with_channels(image)
    if subject is None:
        subject = foreground(image)
    everywhere = bool(subject.all())
    result = np.empty(image.shape, np.float32)
    for channel in range(image.shape[2]):
        values = image[..., channel].astype(np.float64)
        middle, scale = _centre_and_scale(values if everywhere else values[subject])
        values -= middle
        values /= scale
        np.clip(values, -_BELOW, _ABOVE, out=values)
        if not everywhere:
            values[~subject] = 0
        values += _BELOW
        values /= _BELOW + _ABOVE
        result[..., channel] = values
    return result


def _with_channels(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    return image[..., np.newaxis] if image.ndim == 2 else image


def _border(mask: np.ndarray) -> np.ndarray:
    """Return the values along the four sides."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _filled(mask: np.ndarray) -> np.ndarray:
    """Return the mask with its holes; labels are quicker than scipy's own way."""
    parts, n_parts = ndimage.label(~mask)
    open_parts = np.zeros(n_parts + 1, bool)
    open_parts[_border(parts)] = True
    open_parts[0] = False
    return ~open_parts[parts]


def _few(values: np.ndarray) -> np.ndarray:
    """Return so many values, evenly drawn, that quantiles of them are quick."""
    values = values.ravel()
    return values[:: -(-values.size // _MOST_VALUES)]


def _centre_and_scale(values: np.ndarray) -> tuple[float, float]:
    """Return the median and a standard deviation, robust where the values allow."""
    if values.size == 0:
        return 0.0, 1.0
    first, middle, third = np.percentile(_few(values), [25, 50, 75])
    rounding = _ROUNDING * max(abs(first), abs(third))
    if third - first > rounding:
        return float(middle), float((third - first) / _IQR_OF_NORMAL)
    spread = float(values.std())
    return float(middle), spread if spread > rounding else 1.0


def _level(image: np.ndarray, factor: int) -> np.ndarray:
    """Return the smoothed mean of the channels, each from 0 to 1, at a small size."""
    planes = []
    for channel in range(image.shape[2]):
        plane = image[..., channel : channel + 1].astype(np.float64)
        low, high = np.percentile(_few(plane), [1, 99])
        if high - low <= _ROUNDING * max(abs(low), abs(high)):
            low, high = plane.min(), plane.max()
        if high - low <= _ROUNDING * max(abs(low), abs(high)):
            continue
        scaled = ((plane - low) / (high - low)).clip(0, 1)
        planes.append(shrink(scaled, factor)[..., 0])
    if not planes:
        return np.zeros(tuple(-(-side // factor) for side in image.shape[:2]))
    level = np.mean(planes, axis=0)
    sigma = _SIGMA * min(level.shape) / _SIDE
    return ndimage.gaussian_filter(level, sigma, mode="nearest")


def _differing(level: np.ndarray) -> np.ndarray | None:
    """Return the largest part that differs from ground at the border, if any is."""
    contrast = float(np.subtract(*np.percentile(level, [99, 1])))
    contrast = contrast or float(np.ptp(level))
    if contrast <= _ROUNDING:
        return None
    border = _border(level)
    middle = np.median(border)
    spread = np.median(np.abs(border - middle))
    if spread > _FLAT * contrast:
        return None
    width = max(_WIDTH_IN_SPREADS * spread, _LEAST_WIDTH * contrast)
    ground = np.abs(level - middle) <= width
    if _border(ground).mean() < _BORDER_SHARE:
        return None
    parts, n_parts = ndimage.label(_filled(~ground))
    if n_parts == 0:
        return None
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
