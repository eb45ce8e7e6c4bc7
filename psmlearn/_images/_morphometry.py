# SPDX-License-Identifier: BSD-3-Clause
"""Perimeters and convex hulls of all objects of a label image at once.

Each object is judged on its own: a pixel of a neighbour is ground to it. The time
grows with the pixels, whatever the number of objects and however they lie.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["convex_areas", "perimeters"]

# Pixels looked at together: their arrays stay in the processor's cache.
_STRIP = 1 << 16
_STRAIGHT = ((-1, 0), (0, 1), (1, 0), (0, -1))
_DIAGONAL = ((-1, -1), (-1, 1), (1, 1), (1, -1))
# Length by 1 + 2 x straight + 10 x diagonal neighbours that are border, too.
_LENGTHS = np.zeros(50)
_LENGTHS[[5, 7, 15, 17, 25, 27]] = 1.0
_LENGTHS[[21, 33]] = np.sqrt(2.0)
_LENGTHS[[13, 23]] = (1.0 + np.sqrt(2.0)) / 2.0


def perimeters(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the perimeter of each object in pixels [1]_.

    As ``skimage.measure.perimeter(labels == id, neighborhood=4)``.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Ids from 1; 0 and below are ground.
    ids : ndarray of shape (n_objects,), int
        The ids of all objects, ascending.

    Returns
    -------
    ndarray of shape (n_objects,), float64

    References
    ----------
    .. [1] K. Benkrid and D. Crookes, "Design and FPGA Implementation of a Perimeter
       Estimator", Proceedings of the Irish Machine Vision and Image Processing
       Conference, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._morphometry import perimeters
    >>> labels = np.pad(np.ones((3, 3), dtype=int), 1)
    >>> perimeters(labels, np.array([1]))
    array([8.])
    """
    total = np.zeros(len(ids))
    height, width = labels.shape
    step = max(1, _STRIP // max(width, 1))
    number = _numbers(ids, labels.size)
    for top in range(0, height, step):
        # A pixel counts by its neighbours, and these are border by theirs.
        above = min(top, 2)
        strip = labels[top - above : top + step + 2]
        own, code = _border_codes(strip, above, min(step, height - top))
        # In the order of the pixels, so that strips do not show in the sums.
        np.add.at(total, number(own), _LENGTHS[code])
    return total


def _border_codes(
    strip: np.ndarray, first: int, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return id and code of the border pixels of some rows of a strip."""
    border = np.pad(np.maximum(strip, 0), 1)
    inner = border[1:-1, 1:-1]
    height, width = inner.shape

    def beside(down: int, right: int) -> np.ndarray:
        return border[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    is_inside = np.ones(inner.shape, dtype=bool)
    for step in _STRAIGHT:
        is_inside &= beside(*step) == inner
    inner[is_inside] = 0  # ids of border pixels are left
    flat, line = border.ravel(), width + 2
    begin = (1 + first) * line
    places = np.flatnonzero(flat[begin : begin + n_rows * line]) + begin
    own = flat[places]
    code = np.ones(len(places), dtype=np.int64)
    for weight, steps in ((2, _STRAIGHT), (10, _DIAGONAL)):
        for down, right in steps:
            code += weight * (flat[places + down * line + right] == own)
    return own, code


def _numbers(ids: np.ndarray, n_pixels: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the place of an id among all, without a search if it can."""
    if not len(ids) or ids[-1] > 4 * n_pixels:
        return lambda own: np.searchsorted(ids, own)
    table = np.zeros(int(ids[-1]) + 1, np.int64)
    table[ids] = np.arange(len(ids))
    return table.__getitem__


def convex_areas(
    number: np.ndarray, rows: np.ndarray, first: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Return how many pixels the convex hull of each object holds.

    A pixel counts if its centre lies in the hull of the middles of all pixels' sides,
    or on its rim, as in ``skimage.morphology.convex_hull_image``. Whole numbers are
    used throughout, so the answer is exact.

    Parameters
    ----------
    number : ndarray of shape (n_runs,), int
        The object, from 0, of each run of pixels along a row; none is left out.
    rows, first, last : ndarray of shape (n_runs,), int
        Row, first and last column of each run; rows ascend.

    Returns
    -------
    ndarray of shape (n_objects,), int64

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._morphometry import convex_areas
    >>> corner = [0, 1, 2], [0, 0, 0], [2, 0, 0]  # an L of five pixels
    >>> convex_areas(np.zeros(3, int), *map(np.array, corner))
    array([6])
    """
    if not number.size:
        return np.zeros(0, np.int64)
    order = np.argsort(number, kind="stable")
    number, rows, first, last = (each[order] for each in (number, rows, first, last))
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    n_rows = rows[np.append(begins[1:], len(rows)) - 1] + 1 - rows[begins]
    # Of both sides, seen from within: the least column is the largest of mirrored ones.
    right = _summed_reach(number, rows, last, len(begins))
    left = _summed_reach(number, rows, -first, len(begins))
    return right + left + n_rows


def _summed_reach(
    number: np.ndarray, rows: np.ndarray, columns: np.ndarray, n_objects: int
) -> np.ndarray:
    """Return, summed over the rows of each object, the last column in its hull."""
    owner, down, reach = _rim(number, rows, columns)
    owner, down, reach = _convex_chains(owner, down, reach, n_objects)
    # From each corner to the next; coordinates are doubled, so pixels are even.
    goes_on = np.flatnonzero(owner[1:] == owner[:-1])
    top, bottom = down[goes_on], down[goes_on + 1]
    height, wide = bottom - top, reach[goes_on + 1] - reach[goes_on]
    begin = -(-top // 2)
    sums = _floor_sums(
        -(-bottom // 2) - begin,
        2 * height,
        2 * wide,
        reach[goes_on] * height + wide * (2 * begin - top),
    )
    total = np.zeros(n_objects, np.int64)
    np.add.at(total, owner[goes_on], sums)
    return total


def _rim(
    number: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the outermost middles of sides, one for each object and half row.

    In doubled coordinates: pixel (i, j) has (2i, 2j + 1) and (2i +- 1, 2j). Runs come,
    and middles are given, by object and then by row.
    """
    is_new = np.ones(len(number), dtype=bool)
    is_new[1:] = (number[1:] != number[:-1]) | (rows[1:] != rows[:-1])
    begins = np.flatnonzero(is_new)
    owner, row = number[begins], rows[begins]
    reach = np.maximum.reduceat(columns, begins)
    # Whether the row above (below) is the object's, too: they share a half row.
    shares = (owner[1:] == owner[:-1]) & (row[1:] == row[:-1] + 1)
    above = reach.copy()
    above[1:][shares] = np.maximum(reach[1:], reach[:-1])[shares]
    is_last = np.append(~shares, True)
    n_middles = 2 + is_last
    at = np.cumsum(n_middles) - n_middles
    down = np.empty(n_middles.sum(), np.int64)
    out = np.empty(len(down), np.int64)
    down[at], out[at] = 2 * row - 1, 2 * above
    down[at + 1], out[at + 1] = 2 * row, 2 * reach + 1
    end = at[is_last] + 2
    down[end], out[end] = 2 * row[is_last] + 1, 2 * reach[is_last]
    return np.repeat(owner, n_middles), down, out


def _convex_chains(
    owner: np.ndarray, down: np.ndarray, reach: np.ndarray, n_objects: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the corners of the hull, by rounds over all objects.

    A point on or below the line between its neighbours is no corner of the hull,
    whether those are or not; so all of them go at once. What is left when none goes is
    the hull. Objects that are done take no part in further rounds.
    """
    done = []
    while owner.size:
        ahead, back = slice(2, None), slice(None, -2)
        here = slice(1, -1)
        across = (reach[here] - reach[back]) * (down[ahead] - down[back])
        across -= (reach[ahead] - reach[back]) * (down[here] - down[back])
        keeps = np.ones(len(owner), dtype=bool)
        keeps[here] = (owner[ahead] != owner[back]) | (across > 0)
        changed = np.zeros(n_objects, dtype=bool)
        changed[owner[~keeps]] = True
        is_done = ~changed[owner]
        done.append((owner[is_done], down[is_done], reach[is_done]))
        keeps &= ~is_done
        owner, down, reach = owner[keeps], down[keeps], reach[keeps]
    owner, down, reach = (np.concatenate(each) for each in zip(*done, strict=True))
    order = np.argsort(owner, kind="stable")
    return owner[order], down[order], reach[order]


def _floor_sums(
    n: np.ndarray, divisor: np.ndarray, slope: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return the sums of floor((slope * i + start) / divisor) for i in range(n).

    By Euclid's algorithm, in a number of rounds that grows as the logarithm of the
    numbers: an object in far pieces may span many more rows than it has pixels.
    """
    total = np.zeros(len(n), np.int64)
    at = np.flatnonzero(n > 0)
    n, divisor, slope, start = n[at], divisor[at], slope[at], start[at]
    while at.size:
        part = n * (n - 1) // 2 * (slope // divisor) + n * (start // divisor)
        slope, start = slope % divisor, start % divisor
        # What is left is counted column by column: the lattice is turned.
        highest = slope * n + start
        total[at] += part
        more = highest >= divisor
        at, n, divisor, slope, highest = (
            each[more] for each in (at, n, divisor, slope, highest)
        )
        n, start = highest // divisor, highest % divisor
        divisor, slope = slope, divisor
    return total
