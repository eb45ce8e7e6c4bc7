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
_LEAST_DENSITY = 0.1
_LEAST_STAINED = 0.005
_PINK = 0.06
_SURELY_PINK = 0.1
_BROWN = 0.1
_LEAST_COLOUR = 0.08


def guess_staining(image: np.ndarray) -> str:
    """Guess the staining of one image.

    Eosin, and its mixtures with haematoxylin, take far more green light than red and
    blue; haematoxylin alone and DAB do not. Of all colours above the image's own grey
    ground this excess is averaged.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3]), float
        Values in [0, 1].

    Returns
    -------
    staining : {"he", "hdab", "fluorescence", "blank", "other"}
        - "he": haematoxylin and eosin.
        - "hdab": haematoxylin and DAB, or haematoxylin alone.
        - "fluorescence": a dark ground.
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
    image = check_brightfield(image)
    light = shrink(image, max(1, min(2, min(image.shape[:2]) // _SIDE)))
    if np.median(highest(light)) < _DARK:
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
