# SPDX-License-Identifier: BSD-3-Clause
"""Masks of two values, such as 0 and 255, and the regions in them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from psmlearn.io._read import decode_image, read_size


def read_stencil(path: str, size: tuple[int, int], image: str) -> np.ndarray:
    """Read a mask of two values, as the 0/255 ones of many data sets.

    Parameters
    ----------
    path : str
    size : tuple (height, width)
        That of the image it belongs to.
    image : str
        Path of that image, for errors.

    Returns
    -------
    ndarray of shape (height, width), dtype bool

    Raises
    ------
    ValueError
        If the file is broken, of another size, in colours, or of more values.
    """
    declared = read_size(path)  # before anything is decoded
    mask = None if declared != size else decode_image(path, as_labels=True).array
    if mask is None or mask.shape != size:
        shape = declared if mask is None else mask.shape
        raise ValueError(
            f"{path!r} has shape {shape}, but its image {image!r} has size "
            f"{size} (height, width)."
        )
    if mask.dtype.kind not in "bu":
        raise ValueError(
            f"{path!r} has dtype {mask.dtype}; expected a mask of 0 and 255."
        )
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
