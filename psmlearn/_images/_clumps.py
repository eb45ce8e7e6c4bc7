# SPDX-License-Identifier: BSD-3-Clause
"""Clumps of foreground in a part of an image: which lie in it whole, which are cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._instances import fill_and_find_grounds

__all__ = [
    "GRID",
    "LARGEST_CLUMP",
    "Box",
    "Clumps",
    "cut_giants",
    "find_clumps",
    "grown_box",
    "is_giant",
]

Box = tuple[int, int, int, int]
"""Top, left, bottom and right, in pixels; the last two are not in it."""

LARGEST_CLUMP = 2048
"""Side in pixels beyond which a clump is none of nuclei, but ground taken for them."""

GRID = 1024
"""Giants are cut along rows and columns so far apart, from the image's first on."""

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Clumps:
    """The clumps of a part of an image.

    Attributes
    ----------
    labels : ndarray of shape (height, width), int32
        The clumps, holes filled, 1..n.
    is_cut : ndarray of shape (n + 1,), bool
        Whether a clump goes on, or may go on, beyond the part.
    """

    labels: np.ndarray
    is_cut: np.ndarray

    @cached_property
    def boxes(self) -> list[tuple[slice, slice]]:
        """Where each is."""
        return ndi.find_objects(self.labels)

    def box(self, number: int) -> tuple[slice, slice]:
        """Return where one is."""
        own = self.labels == number
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        return (
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
        )

    def within(self, box: Box) -> np.ndarray:
        """Return the numbers of the clumps with a pixel in a box of the part."""
        top, left, bottom, right = box
        found = np.unique(self.labels[top:bottom, left:right])
        return found[found > 0]


def grown_box(box: Box, margin: int, shape: tuple[int, int], step: int = 1) -> Box:
    """Return a box grown by a margin within an image, to multiples of `step`.

    Examples
    --------
    >>> from psmlearn._images._clumps import grown_box
    >>> grown_box((10, 0, 21, 9), 3, (22, 100), step=2)
    (6, 0, 22, 12)
    """
    top, left = (max(0, (side - margin) // step * step) for side in box[:2])
    bottom, right = (
        min(end, -(-(side + margin) // step) * step)
        for side, end in zip(box[2:], shape, strict=True)
    )
    return top, left, bottom, right


def find_clumps(
    mask: np.ndarray,
    box: Box,
    shape: tuple[int, int],
    *,
    reach: int,
    max_hole_area: float,
) -> Clumps:
    """Find the clumps of a part of an image.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
        The foreground in the part.
    box : tuple of four int
        Where the part lies.
    shape : tuple of two int
        Of the whole image.
    reach : int
        What lies so near to a clump, in pixels, has a say in it: one that comes
        nearer to where the part was cut off counts as cut.
    max_hole_area : float
        Holes of so many pixels, or fewer, belong to the clump around them.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._clumps import find_clumps
    >>> mask = np.zeros((9, 9), bool)
    >>> mask[1:3, 1:3] = mask[4:8, 5:7] = True
    >>> found = find_clumps(mask, (0, 0, 9, 9), (20, 9), reach=1, max_hole_area=0)
    >>> found.is_cut.tolist()
    [False, False, False]
    >>> found = find_clumps(mask, (0, 0, 9, 9), (20, 9), reach=2, max_hole_area=0)
    >>> found.is_cut.tolist()
    [False, False, True]
    """
    filled, grounds, is_small = fill_and_find_grounds(mask, max_hole_area)
    labels, n_clumps = ndi.label(filled, _EIGHT)
    is_cut = np.zeros(n_clumps + 1, bool)
    rims = _cut_off(box, shape, reach)
    for rim in rims:
        is_cut[labels[rim]] = True
    if is_small.any():
        # Ground that the cut opens may be a hole of the whole image, which joins what
        # is around and within it.
        opened = np.zeros(len(is_small), bool)
        for rim in _cut_off(box, shape, 1):
            opened[grounds[rim]] = True
        opened &= is_small
        if opened.any():
            is_cut[_beside(labels, opened[grounds])] = True
    is_cut[0] = False
    return Clumps(labels, is_cut)


def _beside(labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the labels of the neighbours, eight of each, of chosen pixels."""
    rows, columns = np.nonzero(chosen)
    last = np.array(labels.shape) - 1
    found = [
        labels[np.clip(rows + down, 0, last[0]), np.clip(columns + right, 0, last[1])]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    return np.unique(np.concatenate(found))


def _cut_off(box: Box, shape: tuple[int, int], reach: int) -> list[tuple]:
    """Return what lies within `reach` of the sides that are not the image's."""
    top, left, bottom, right = box
    rims: list[tuple] = []
    if top > 0:
        rims.append(np.s_[:reach, :])
    if bottom < shape[0]:
        rims.append(np.s_[max(0, bottom - top - reach) :, :])
    if left > 0:
        rims.append(np.s_[:, :reach])
    if right < shape[1]:
        rims.append(np.s_[:, max(0, right - left - reach) :])
    return rims


def is_giant(place: tuple[slice, slice]) -> bool:
    """Tell whether a clump is too large to be one of nuclei, by where it is."""
    return max(at.stop - at.start for at in place) > LARGEST_CLUMP


def cut_giants(
    mask: np.ndarray, clumps: np.ndarray, giants: np.ndarray, box: Box
) -> np.ndarray:
    """Return the pixels of a mask that cut giant clumps to pieces.

    Parameters
    ----------
    mask : ndarray of shape (height, width), bool
    clumps : ndarray of shape (height, width), int32
    giants : ndarray of int
        Numbers of the clumps to cut.
    box : tuple of four int
        Where the part lies: the cuts are rows and columns of the whole image.
    """
    lines = np.zeros(mask.shape, bool)
    lines[-box[0] % GRID :: GRID] = True
    lines[:, -box[1] % GRID :: GRID] = True
    return lines & mask & np.isin(clumps, giants)
