# SPDX-License-Identifier: BSD-3-Clause
"""How large the nuclei of an image are, told from a first segmentation."""

from __future__ import annotations

import numpy as np

from psmlearn._images._instances import areas

NUCLEUS_DIAMETER = 5.0
"""Micrometres that a nucleus measures where nothing else is known."""

FOUND_TOO_WIDE = 0.875
"""What a first look finds is wider than a nucleus: some are not split yet."""

ONE_STAIN_TOO_WIDE = 0.75
"""The same for nuclei of one stain, half of whose area is in wider ones."""

LARGEST_ZOOM = 1.6
"""How much larger, or smaller, than usual nuclei may be."""

_FEWEST_NUCLEI = 20


def halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: at half the resolution a first look costs a quarter.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._sizes import halved
    >>> halved(np.array([[1.0, 3.0, 9.0], [5.0, 7.0, 9.0]])).tolist()
    [[4.0]]
    """
    height, width = (side // 2 * 2 for side in plane.shape[:2])
    rows = plane[0:height:2, :width] + plane[1:height:2, :width]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def typical_diameter(labels: np.ndarray) -> float:
    """Diameter of the disc as large as the typical object, in pixels.

    Half of all foreground belongs to larger objects: specks count little.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._sizes import typical_diameter
    >>> labels = np.zeros((20, 20), int)
    >>> labels[:10, :10], labels[15, 15] = 1, 2
    >>> round(typical_diameter(labels), 1)
    11.3
    """
    return diameter_of_areas(areas(labels))


def diameter_of_areas(sizes: np.ndarray) -> float:
    """Return the same from the areas of all objects, in pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._sizes import diameter_of_areas
    >>> round(diameter_of_areas(np.array([1, 100])), 1)
    11.3
    """
    sizes = np.sort(sizes)
    if not len(sizes):
        return 0.0
    area = sizes[np.searchsorted(np.cumsum(sizes), sizes.sum() / 2)]
    return float(np.sqrt(4 * area / np.pi))


def nuclear_zoom(
    labels: np.ndarray, pixel_size: float, *, too_wide: float = FOUND_TOO_WIDE
) -> float:
    """How much larger than `NUCLEUS_DIAMETER` the nuclei of an image are.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Ids from 1, as segmented for nuclei of `NUCLEUS_DIAMETER`.
    pixel_size : float
        Micrometres per pixel.
    too_wide : float, default=0.875
        Part of the diameter found that is taken.

    Returns
    -------
    zoom : float
        Within [1 / 1.6, 1.6]; 1 where there are too few nuclei to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._sizes import nuclear_zoom
    >>> nuclear_zoom(np.eye(8, dtype=int), 0.25)
    1.0
    """
    return zoom_of_areas(areas(labels), pixel_size, too_wide=too_wide)


def zoom_of_areas(
    sizes: np.ndarray, pixel_size: float, *, too_wide: float = FOUND_TOO_WIDE
) -> float:
    """Return the same from the areas of all objects, in pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._sizes import zoom_of_areas
    >>> round(zoom_of_areas(np.full(30, 400), 0.25), 3)
    0.987
    """
    if len(sizes) < _FEWEST_NUCLEI:
        return 1.0
    zoom = too_wide * diameter_of_areas(sizes) * pixel_size / NUCLEUS_DIAMETER
    return float(np.clip(zoom, 1 / LARGEST_ZOOM, LARGEST_ZOOM))
