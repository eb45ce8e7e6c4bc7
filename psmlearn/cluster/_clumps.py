# SPDX-License-Identifier: BSD-3-Clause
"""Stained nuclei among each other: clumps, debris, and slivers beside dark ones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.segmentation import watershed

from psmlearn._images._contours import contour_objects
from psmlearn._images._instances import clean_mask, remove_small, split_touching
from psmlearn._images._lengths import within_image
from psmlearn._images._prominence import Neighbourhood, inner_edge

__all__ = ["drop_slivers", "drop_small_among", "faint_among", "split_clumps"]

# All below was chosen on Ki-67 images: every other one of 14 of BCData, 14 fields and
# 5 fields of gliomas.
# A clump is larger than so many typical nuclei and less convex than one.
_CLUMP, _LEAST_SOLIDITY = 1.5, 0.9
# In typical diameters: smoothing of contours, opening of what they leave.
_SMOOTHING, _OPENING = 0.15, 0.2
# Least part of the squared diameter of what contours leave.
_LEAST_REST = 0.3
# What covers more squares of the diameter does not count among others.
_MOST_AREA = 3.0
# Amount of a chromogen, in optical density, from which nuclei are dark, and from which
# they are black where it is the mean of a section: of so many times the neighbourhood.
_DARK, _BLACK, _FAR = 0.9, 1.25, 4
# What has so much of its outline along a darker nucleus is that nucleus' rim.
_ALONG, _BESIDE = 0.4, 2


def split_clumps(
    ids: np.ndarray, stain: np.ndarray, height: np.ndarray, *, diameter: float
) -> np.ndarray:
    """Split dark clumps anew where nuclei in them are seen as contours of a height.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int32
        Objects; pieces of them that touch are a clump if they are together larger than
        1.5 nuclei, not convex, and dark.
    stain : ndarray of shape (height, width), float32
        Amount of the stain, in optical density, that says what is dark.
    height : ndarray of shape (height, width), float32
        High in nuclei, lower between them: optical density where it does not saturate.
    diameter : float
        Typical diameter of a nucleus in pixels.

    Returns
    -------
    ids : ndarray of shape (height, width), int32
        The same pixels; other objects, and clumps in which nothing is seen, are as
        before. Ids have gaps.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.cluster._clumps import split_clumps
    >>> rows, columns = np.mgrid[:60, :60]
    >>> height = np.zeros((60, 60), np.float32)
    >>> for row, column in ((16, 16), (16, 42), (42, 16)):
    ...     height[(rows - row) ** 2 + (columns - column) ** 2 < 80] = 1.2
    >>> clump = np.zeros((60, 60), np.int32)
    >>> clump[6:52, 6:52] = 1
    >>> clump[26:, 26:] = 0
    >>> stain = np.full((60, 60), 2.0)
    >>> int(len(np.unique(split_clumps(clump, stain, height, diameter=18))) - 1)
    3
    """
    diameter = within_image(diameter, ids.shape)
    clumps = _clumps(ids > 0, stain, diameter)
    if not clumps.any():
        return ids
    smoothing = _SMOOTHING * diameter
    found = contour_objects(
        height, diameter=diameter, smoothing=smoothing, support=clumps
    ).labels
    found[~clumps] = 0
    parts = ndi.label(clumps)[0]
    clumps &= np.isin(parts, np.unique(parts[found > 0]))
    rest = clumps & (found == 0)
    rest = clean_mask(rest, opening_radius=round(_OPENING * diameter))
    if rest.any():
        left = split_touching(rest, diameter=diameter, intensity=height)
        left = remove_small(left, round(_LEAST_REST * diameter**2))
        found = np.where(left > 0, left + found.max(), found)
    # Every pixel goes to the nearest of its own clump.
    grown = watershed(np.zeros(ids.shape, np.uint8), found, mask=clumps)
    return np.where(grown > 0, grown + ids.max(), ids).astype(np.int32, copy=False)


def _clumps(mask: np.ndarray, stain: np.ndarray, diameter: float) -> np.ndarray:
    """Return the pixels of dark clumps."""
    parts = ndi.label(mask)[0]
    numbers, areas, centres = _places(parts)
    if not numbers.size:
        return mask
    mean = _means(parts, stain, numbers, areas)
    is_dark = (mean > _DARK) & _is_black_around(parts, stain, diameter)
    large = areas > _CLUMP * np.pi / 4 * diameter**2
    is_clump = _table(numbers, large & is_dark)
    for region in regionprops(np.where(is_clump[parts], parts, 0)):
        is_clump[region.label] = region.solidity < _LEAST_SOLIDITY
    return is_clump[parts]


def drop_small_among(
    ids: np.ndarray,
    share: float,
    *,
    diameter: float,
    stain: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Drop objects that are small among those around them.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int32
    share : float
        Least part of the mean area in the neighbourhood, of 15 diameters' reach; in
        that mean objects weigh by their area.
    diameter : float
        Typical diameter of an object in pixels.
    stain : ndarray of shape (height, width), float32, default=None
        Amount of a stain, in optical density: only among dark objects any is dropped.
    among : ndarray of shape (height, width), int32, default=None
        All objects that count in the mean; those of `ids` alone by default.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.cluster._clumps import drop_small_among
    >>> ids = np.zeros((40, 40), np.int32)
    >>> ids[5:15, 5:15], ids[20:30, 20:30], ids[35:37, 35:37] = 1, 2, 3
    >>> np.unique(drop_small_among(ids, 0.2, diameter=10)).tolist()
    [0, 1, 2]
    """
    numbers, areas, centres = _places(ids)
    if not numbers.size:
        return ids
    around = Neighbourhood(ids.shape, within_image(diameter, ids.shape))
    if among is None:
        usual = _usual_area(around, centres, areas, diameter)
    else:
        every, all_areas, all_centres = _places(among)
        usual = _usual_area(around, all_centres, all_areas, diameter)
        usual = usual[np.searchsorted(every, numbers)]
    is_small = areas < share * usual
    if stain is not None:
        is_small &= _is_black_around(ids, stain, diameter)
    return np.where(_table(numbers, is_small)[ids], 0, ids)


def faint_among(
    ids: np.ndarray, stain: np.ndarray, share: float, *, diameter: float
) -> np.ndarray:
    """Tell the pixels of objects that are faint among black ones.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int32
    stain : ndarray of shape (height, width), float32
        Amount of a stain, in optical density.
    share : float
        Least part of the mean amount in the neighbourhood, of 15 diameters' reach; in
        that mean objects weigh by their area.
    diameter : float
        Typical diameter of an object in pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.cluster._clumps import faint_among
    >>> ids = np.zeros((40, 40), np.int32)
    >>> ids[5:15, 5:15], ids[20:30, 20:30] = 1, 2
    >>> stain = np.where(ids == 1, 2.4, 0.4)
    >>> np.unique(ids[faint_among(ids, stain, 0.35, diameter=10)]).tolist()
    [2]
    """
    numbers, areas, centres = _places(ids)
    if not numbers.size:
        return np.zeros(ids.shape, bool)
    mean = _means(ids, stain, numbers, areas)
    around = Neighbourhood(ids.shape, within_image(diameter, ids.shape))
    usual = around.weighted(*centres, areas, mean)[0]
    is_faint = (mean < share * usual) & _is_black_around(ids, stain, diameter)
    return _table(numbers, is_faint)[ids]


def _is_black_around(ids: np.ndarray, stain: np.ndarray, diameter: float) -> np.ndarray:
    """Tell the objects of a section whose objects hold much of a stain.

    Sections are stained as a whole: a few dark nuclei together tell nothing.
    """
    numbers, areas, centres = _places(ids)
    mean = _means(ids, stain, numbers, areas)
    around = Neighbourhood(ids.shape, _FAR * within_image(diameter, ids.shape))
    return around.weighted(*centres, areas, mean)[0] > _BLACK


def _usual_area(
    around: Neighbourhood,
    centres: list[np.ndarray],
    areas: np.ndarray,
    diameter: float,
) -> np.ndarray:
    """Return the mean area around each object, in which the large weigh more."""
    # What is far too large is no nucleus, or several.
    weight = np.where(areas > _MOST_AREA * diameter**2, 0, areas)
    return around.weighted(*centres, weight, areas)[0]


def _places(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the ids that are there, their areas, and rows and columns of centres."""
    places = np.flatnonzero(ids)
    own = ids.ravel()[places]
    areas = np.bincount(own, minlength=1)
    numbers = np.flatnonzero(areas)
    areas = areas[numbers].astype(float)
    sides = np.divmod(places, ids.shape[1])
    return numbers, areas, [np.bincount(own, s)[numbers] / areas for s in sides]


def _means(
    ids: np.ndarray, values: np.ndarray, numbers: np.ndarray, areas: np.ndarray
) -> np.ndarray:
    """Return the mean value of each object."""
    sums = np.bincount(ids.ravel(), values.ravel(), int(numbers[-1]) + 1)
    return sums[numbers] / areas


def _table(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return what is true of each id; of 0 and of those that are not there nothing."""
    table = np.zeros(int(numbers[-1]) + 1, bool)
    table[numbers] = values
    return table


def drop_slivers(ids: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Drop objects that lie along others with much of their outline.

    The rim of a nucleus that is nearly black is blue: light of short waves is out of
    focus there.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int32
    beside : ndarray of shape (height, width), bool
        The others.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.cluster._clumps import drop_slivers
    >>> ids = np.zeros((20, 20), np.int32)
    >>> ids[2:18, 10], ids[5:10, 15:19] = 1, 2
    >>> dark = np.zeros((20, 20), bool)
    >>> dark[2:18, 2:10] = True
    >>> np.unique(drop_slivers(ids, dark)).tolist()
    [0, 2]
    """
    if not beside.any() or not ids.any():
        return ids
    n_ids = int(ids.max()) + 1
    outline = inner_edge(ids)
    near = ndi.binary_dilation(beside, iterations=_BESIDE)
    length = np.bincount(ids[outline], minlength=n_ids)
    along = np.bincount(ids[outline & near], minlength=n_ids)
    is_sliver = along >= _ALONG * np.maximum(length, 1)
    return np.where(is_sliver[ids], 0, ids)
