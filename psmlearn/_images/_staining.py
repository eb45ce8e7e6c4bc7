# SPDX-License-Identifier: BSD-3-Clause
"""Which staining an image shows, by its colours alone."""

from __future__ import annotations

import numpy as np

from psmlearn._images._stains import optical_density
from psmlearn._images._tissue import (
    average,
    check_brightfield,
    highest,
    lowest,
    shrink,
)

_DARK = 0.2
_SIDE = 512
_FEW = 256  # pixels of a side that tell a dark ground
# Of a fluorescence image with many nuclei or haze: how dark its ground is, and how much
# of it is seen between nuclei of one colour, or of grey ones. Of 70 brightfield images
# the darkest has 0.18 of such ground, and all have paler places than _PALEST.
_GROUND = 0.25
_LEAST_GROUND = 0.1
_LEAST_GREY_GROUND = 0.27
_PALEST = 0.3
_NOWHERE_PALE = 0.15  # of one colour, that all others are dark in
_MOST_GREY = 0.06
# Of images without colour, inverted ones among them: half is darker, and nothing as
# pale as glass; or half is far darker and what is brighter is far so.
_DARKER_HALF, _PALE_AS_GLASS = 0.5, 0.8
_DARK_HALF, _BRIGHT_TAIL = 0.35, 0.2
_BLOCK = 4  # averaged, so that noise is no colour
_BLACK = 0.05
_LEAST_INSIDE = 0.1
_LEAST_DENSITY = 0.1
_LEAST_STAINED = 0.005
_PINK = 0.06
_SURELY_PINK = 0.1
_BROWN = 0.1
_LEAST_COLOUR = 0.08


def guess_staining(image: np.ndarray, shown: np.ndarray | None = None) -> str:
    """Guess the staining of one image.

    Eosin, and its mixtures with haematoxylin, take far more green light than red and
    blue; haematoxylin alone and DAB do not. Of all colours above the image's own grey
    ground this excess is averaged.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3]), float
        Values in [0, 1].
    shown : ndarray of shape (height, width), bool, default=None
        Where the image shows something; rows and columns that do not are cut off.

    Returns
    -------
    staining : {"he", "hdab", "fluorescence", "blank", "other"}
        - "he": haematoxylin and eosin.
        - "hdab": haematoxylin and DAB, or haematoxylin alone.
        - "fluorescence": a dark ground, or what is bright is of one colour or grey and
          dark ground is seen between.
        - "blank": nothing stained.
        - "other": grey, or colours of no such stain.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._staining import guess_staining
    >>> image = np.ones((64, 64, 3))
    >>> guess_staining(image)
    'blank'
    >>> image[10:40, 10:40] = [0.9, 0.6, 0.75]
    >>> guess_staining(image)
    'he'
    """
    image = _shown_part(check_brightfield(image), shown)
    if not image.size:
        return "blank"
    light = shrink(image, max(1, min(2, min(image.shape[:2]) // _SIDE)))
    light = _without_border(light)
    if _is_fluorescence(light):
        return "fluorescence"
    density = optical_density(light).reshape(-1, light.shape[2])
    # Dim light darkens all channels alike; what is common to them is not stain.
    ground = np.percentile(density, 1, axis=0).min()
    density = np.maximum(density - ground, 0)
    total = 3 * average(density)
    stained = total > _LEAST_DENSITY
    if stained.mean() < _LEAST_STAINED:
        return "blank"
    if density.shape[1] == 1:
        return "other"
    return _by_colour(density[stained], float(total[stained].sum()))


def is_fluorescence(image: np.ndarray, shown: np.ndarray | None = None) -> bool:
    """Tell an image of bright objects on a dark ground, by some of its pixels.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3]), float
        Values in [0, 1].
    shown : ndarray of shape (height, width), bool, default=None
        Where the image shows something; rows and columns that do not are cut off.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._staining import is_fluorescence
    >>> image = np.full((64, 64, 3), 0.05)
    >>> image[10:20, 10:20] = 0.7
    >>> is_fluorescence(image), is_fluorescence(1 - image)
    (True, False)
    """
    image = _shown_part(check_brightfield(image), shown)
    if not image.size:
        return False
    step = max(1, min(image.shape[:2]) // _FEW)
    light = _without_border(image[::step, ::step])
    if _is_fluorescence(light):
        return True
    level = average(light)
    if np.median(level) >= _DARKER_HALF:
        return False
    if _is_grey(light):
        return _is_bright_on_dark(level)
    # Inverted colours: darker than not, and of no stain; or clearly bright on dark.
    staining = guess_staining(light)
    if staining == "hdab":
        return _is_bright_on_dark(level) and np.median(level) < _DARK_HALF
    return staining == "other"


def _shown_part(image: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
    """Return the rows and columns in which anything is shown."""
    if shown is None:
        return image
    return image[shown.any(axis=1)][:, shown.any(axis=0)]


def _without_border(light: np.ndarray) -> np.ndarray:
    """Cut black rows and columns off the sides, if enough is left to be an image."""
    is_seen = highest(light) > _BLACK
    rows = np.flatnonzero(is_seen.mean(axis=1) > 0.01)
    columns = np.flatnonzero(is_seen[rows].mean(axis=0) > 0.01) if rows.size else rows
    if not columns.size:
        return light
    inner = light[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner if inner.size > _LEAST_INSIDE * light.size else light


def _is_fluorescence(light: np.ndarray) -> bool:
    """Tell a dark ground, even where nuclei cover most of it."""
    high = highest(light)
    if np.median(high) < _DARK:
        return True
    if np.percentile(lowest(light), 98) < _NOWHERE_PALE:
        return True
    dark = float((high < _GROUND).mean())
    if dark < _LEAST_GROUND:
        return False
    # Brightfield is pale somewhere: all channels are bright there.
    if np.percentile(lowest(light), 98) < _PALEST:
        return True
    # A dark stain has a colour where it is less dark; light on a dark ground has none.
    return dark > _LEAST_GREY_GROUND and _is_grey(light)


def _is_bright_on_dark(level: np.ndarray) -> bool:
    """Tell a ground that is dark, and nothing as pale as glass, without a colour."""
    low, middle, high = np.percentile(level, [2, 50, 98])
    if middle < _DARKER_HALF and high < _PALE_AS_GLASS:
        return True
    return middle < _DARK_HALF and high - middle > middle - low + _BRIGHT_TAIL


def _is_grey(light: np.ndarray) -> bool:
    """Tell whether what is neither dark nor glaring has no colour."""
    small = shrink(light, _BLOCK)
    high = highest(small)
    middle = (high > _GROUND) & (high < 0.8)
    if not middle.any():
        return True
    colour = (high - lowest(small))[middle] / high[middle]
    return float(np.percentile(colour, 90)) < _MOST_GREY


def _by_colour(density: np.ndarray, total: float) -> str:
    """Tell stainings by pixels above the ground, weighed by their density."""
    red, green, blue = density.T
    amount = red + green + blue
    colour = float((highest(density) - lowest(density)).sum()) / total
    if colour < _LEAST_COLOUR:
        return "other"
    greenish = float(amount[green < np.minimum(red, blue)].sum()) / total
    yellow_or_red = float(amount[(red < 0.1 * blue) & (green < 0.9 * blue)].sum())
    if greenish > 0.5 or yellow_or_red > 0.5 * total:
        return "other"
    pink = float((green - np.maximum(red, blue)).sum()) / total
    brown = float(amount[(blue > green) & (green > red)].sum()) / total
    if pink > _SURELY_PINK or (pink > _PINK and brown < _BROWN):
        return "he"
    return "hdab"
