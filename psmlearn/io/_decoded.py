# SPDX-License-Identifier: BSD-3-Clause
"""What a decoded file gives, and what its alpha and its missing tiles mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Decoded(NamedTuple):
    """A decoded file.

    Attributes
    ----------
    array : ndarray of shape (height, width) or (height, width, n_channels)
        As stored, without alpha; missing tiles are white (0 in labels).
    opaque : bool
        Whether no pixel is transparent, not even partly.
    shown : ndarray of shape (height, width), bool, or None
        False where a pixel is fully transparent or lies in a tile that is missing
        on purpose; None where all pixels are shown.
    orientation : int
        The orientation tag, 1 to 8, which is not applied; 1 where there is none.
    lossy : bool
        Whether the values were changed by compression, as by JPEG.
    """

    array: np.ndarray
    opaque: bool = True
    shown: np.ndarray | None = None
    orientation: int = 1
    lossy: bool = False


def white_of(dtype: np.dtype) -> float:
    """Return the value of white; 1 for floats."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0


def split_alpha(array: np.ndarray, place: int = -1) -> Decoded:
    """Drop the alpha channel at `place`; tell where the picture is shown."""
    alpha = array[..., place]
    white = white_of(array.dtype)
    colours = np.delete(array, place, axis=2)
    if colours.shape[2] == 1:
        colours = colours[..., 0]
    colours = np.ascontiguousarray(colours)
    lowest = alpha.min()
    if lowest >= white:
        return Decoded(colours)
    return Decoded(colours, False, alpha > 0 if lowest <= 0 else None)


def as_orientation(value: object) -> int:
    """Return an orientation tag as an int, 1 where it makes no sense."""
    if isinstance(value, int) and 1 <= value <= 8:
        return int(value)
    return 1


def paint_missing(decoded: Decoded, stored: np.ndarray, as_labels: bool) -> Decoded:
    """Paint what is not stored: white, as the ground of a slide; 0 in labels."""
    array = decoded.array
    white = 0.0 if as_labels else white_of(array.dtype)
    if array.dtype.kind == "i" and not as_labels:
        # Integers of unknown white: the lightest that is there.
        white = array[stored].max(initial=0)
    array = array if array.flags.writeable else array.copy()
    array[~stored] = white
    shown = stored if decoded.shown is None else stored & decoded.shown
    return decoded._replace(array=array, shown=shown)
