# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei that a chromogen stains, as the stain tells, among those of a network."""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from psmlearn._images._instances import relabel

__all__ = ["put_stained_first"]


def put_stained_first(
    mask: np.ndarray, stained: np.ndarray, counterstain: int
) -> np.ndarray:
    """Take the chromogens' nuclei from one mask and all others from another.

    Parameters
    ----------
    mask : ndarray of shape (height, width, 2), int
        Ids and classes of a network. Its nuclei, of whatever class, are of the
        counterstain where no chromogen's lies; what loses half of itself to one is
        that nucleus seen again.
    stained : ndarray of shape (height, width, 2), int
        Ids and classes by stain.
    counterstain : int
        The class of the counterstain, the highest.

    Returns
    -------
    merged : ndarray of shape (height, width, 2), int32

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.segmentation._stained import put_stained_first
    >>> network = np.array([[[1, 1], [1, 1], [0, 0], [2, 1], [2, 1], [2, 1]]])
    >>> stain = np.array([[[7, 1], [7, 1], [0, 0], [8, 1], [0, 0], [9, 2]]])
    >>> put_stained_first(network, stain, 2).tolist()
    [[[1, 1], [1, 1], [0, 0], [2, 1], [3, 2], [3, 2]]]
    """
    is_stained = (stained[..., 1] > 0) & (stained[..., 1] < counterstain)
    ids = mask[..., 0]
    whole = np.bincount(ids.ravel())
    # A nucleus that is cut in two goes on as its larger part.
    pieces = label(np.where(is_stained, 0, ids), background=0, connectivity=2)
    found = pieces > 0
    owner = np.zeros(int(pieces.max()) + 1, np.intp)
    owner[pieces[found]] = ids[found]
    kept = 2 * np.bincount(pieces.ravel(), minlength=len(owner)) > whole[owner]
    kept[0] = False
    pieces = np.where(kept[pieces], pieces, 0)
    merged = np.where(is_stained, stained[..., 0], 0)
    merged = np.where(pieces > 0, pieces + merged.max(), merged)
    classes = np.where(
        is_stained, stained[..., 1], np.where(pieces > 0, counterstain, 0)
    )
    return np.stack([relabel(merged), classes], axis=-1).astype(np.int32, copy=False)
