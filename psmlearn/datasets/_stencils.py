# SPDX-License-Identifier: BSD-3-Clause
"""Masks of two values, such as 0 and 255, and the regions in them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from psmlearn.io._read import decode_labels, read_size


def read_stencil(
    path: str, size: tuple[int, int], image: str, turned: list[tuple[str, int]]
) -> np.ndarray:
    """Read a mask of two values, as the 0/255 ones of many data sets.

    Parameters
    ----------
    path : str
    size : tuple (height, width)
        That of the image it belongs to.
    image : str
        Path of that image, for errors.
    turned : list of (path, orientation tag)
        Takes the tag of this file, for `warn_of_orientation` to tell of all at once.

    Returns
    -------
    ndarray of shape (height, width), dtype bool

    Raises
    ------
    ValueError
        If the file is broken, of another size, in colours, of more values, or has
        transparent pixels.
    """
    declared = read_size(path)  # before anything is decoded
    decoded = None if declared != size else decode_labels(path)
    mask = None if decoded is None else decoded.array
    if decoded is None or mask is None or mask.shape != size:
        shape = declared if mask is None else mask.shape
        raise ValueError(
            f"{path!r} has shape {shape}, but its image {image!r} has size "
            f"{size} (height, width)."
        )
    if mask.dtype.kind not in "bu":
        raise ValueError(
            f"{path!r} has dtype {mask.dtype}; expected a mask of 0 and 255."
        )
    turned.append((path, decoded.orientation))
    inside = mask > 0
    if (mask[inside] != mask.max()).any():
        raise ValueError(
            f"{path!r} holds several values besides 0; expected a mask of 0 and 255."
        )
    return inside


def label_regions(mask: np.ndarray) -> np.ndarray:
    """Give each connected region its id; corners connect, too."""
    if not mask.any():
        # Never written to, such memory is not even taken.
        return np.zeros(mask.shape, dtype=np.int32)
    labels = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, structure=np.ones((3, 3), dtype=bool), output=labels)
    return labels
