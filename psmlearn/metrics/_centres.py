# SPDX-License-Identifier: BSD-3-Clause
"""Centres and classes of the objects of a label image."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import check_class_values, check_values

# Pixels looked at together: their temporaries stay in the processor's cache.
_BLOCK_SIZE = 1 << 18


def measure_objects(
    mask: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Find the centre and the class of each object, in the order of the ids.

    Parameters
    ----------
    mask : ndarray of shape (height, width) or (height, width, 2), int
        A label image, with or without classes.
    name : str
        What to call it in errors.

    Returns
    -------
    points : ndarray of shape (n_objects, 2), float64
        Mean row and column of each object's pixels.
    classes : ndarray of shape (n_objects,), int64, or None
        The class of most of its pixels; of equals, the lowest. Unknown (-1) only
        where no pixel's class is known.
    """
    ids, classes, rows, columns, sizes = _runs(mask)
    check_values(ids, mask if mask.ndim == 2 else mask[..., 0], name)
    if classes is not None:
        check_class_values(classes, name)
    is_object = ids > 0
    rows, columns, sizes = rows[is_object], columns[is_object], sizes[is_object]
    numbers = np.unique(ids[is_object], return_inverse=True)[1]
    areas = np.bincount(numbers, weights=sizes)
    points = np.empty((areas.size, 2))
    points[:, 0] = np.bincount(numbers, weights=sizes * rows)
    points[:, 1] = np.bincount(numbers, weights=sizes * (columns + (sizes - 1) / 2))
    points /= areas[:, np.newaxis]
    if classes is None:
        return points, None
    return points, _commonest(numbers, classes[is_object], sizes)


def _runs(
    mask: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
    """List the runs of equal values along rows that are not background.

    Returns
    -------
    ids, classes, rows, columns, sizes : ndarray of shape (n_runs,), int64
        Value, class (None where there are none), first pixel and length.
    """
    ids, classes = (mask, None) if mask.ndim == 2 else (mask[..., 0], mask[..., 1])
    height, width = ids.shape
    step = max(1, _BLOCK_SIZE // width)
    parts = []
    for top in range(0, height, step):
        values = np.ravel(ids[top : top + step])
        starts_here = np.empty(values.size, dtype=bool)
        np.not_equal(values[1:], values[:-1], out=starts_here[1:])
        if classes is not None:
            kinds = np.ravel(classes[top : top + step])
            starts_here[1:] |= kinds[1:] != kinds[:-1]
        starts_here[::width] = True
        starts = np.flatnonzero(starts_here)
        sizes = np.diff(starts, append=values.size)
        is_kept = values[starts] != 0
        starts, sizes = starts[is_kept], sizes[is_kept]
        rows, columns = np.divmod(starts, width)
        part = [values[starts], rows + top, columns, sizes]
        if classes is not None:
            part.append(kinds[starts])
        parts.append([each.astype(np.int64, copy=False) for each in part])
    runs = [np.concatenate(each) for each in zip(*parts, strict=True)]
    found = None if classes is None else runs[4]
    return runs[0], found, runs[1], runs[2], runs[3]


def _commonest(
    numbers: np.ndarray, classes: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Find the class with the largest total size of each number."""
    if not numbers.size:
        return np.empty(0, dtype=np.int64)
    # One entry for each class of each number, in order.
    order = np.lexsort((classes, numbers))
    numbers, classes = numbers[order], classes[order]
    is_first = np.append(True, np.diff(numbers) + np.abs(np.diff(classes)) > 0)
    totals = np.add.reduceat(sizes[order], np.flatnonzero(is_first))
    numbers, classes = numbers[is_first], classes[is_first]
    totals[classes < 0] = 0
    best = np.lexsort((-classes, totals, numbers))
    is_last = np.append(np.diff(numbers[best]) > 0, True)
    return classes[best[is_last]]
