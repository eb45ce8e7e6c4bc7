# SPDX-License-Identifier: BSD-3-Clause
"""Connected regions as objects that are not split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._instances import relabel, remove_small

__all__ = ["connected_regions", "regions_of_classes"]


def connected_regions(mask: np.ndarray, min_area: float = 0) -> np.ndarray:
    """Number the 8-connected regions of a mask; smaller ones are dropped.

    Nothing is split or filled.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
    min_area : float, default=0
        In pixels.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
        0 background, 1..n.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._regions import connected_regions
    >>> mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], bool)
    >>> connected_regions(mask).tolist()
    [[1, 0, 0, 2], [0, 1, 0, 0]]
    >>> connected_regions(mask, min_area=2).tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0]]
    """
    labels, _ = ndi.label(mask, structure=np.ones((3, 3), bool))
    return relabel(remove_small(labels.astype(np.int32, copy=False), min_area))


def regions_of_classes(
    inside: np.ndarray, places: np.ndarray, classes: Sequence[int], min_area: float
) -> np.ndarray:
    """Number the regions of each class; those of two classes are two.

    Parameters
    ----------
    inside : ndarray of shape (height, width), bool
        What belongs to any region.
    places : ndarray of shape (height, width), int
        Place in `classes` of the class of each pixel.
    classes : sequence of int
    min_area : float
        Smaller regions are dropped, in pixels.

    Returns
    -------
    mask : ndarray of shape (height, width, 2), int32
        Ids 1..n, and classes.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._regions import regions_of_classes
    >>> inside = np.array([[True, True, False]])
    >>> regions_of_classes(inside, np.array([[0, 1, 1]]), [1, 2], 0).tolist()
    [[[1, 1], [2, 2], [0, 0]]]
    """
    mask = np.zeros((*inside.shape, 2), np.int32)
    n_regions = 0
    for place, value in enumerate(classes):
        labels = connected_regions(inside & (places == place), min_area)
        own = labels > 0
        mask[own, 0] = labels[own] + n_regions
        mask[own, 1] = value
        n_regions += int(labels.max(initial=0))
    return mask
