# SPDX-License-Identifier: BSD-3-Clause
"""The class of an object is that of most of its pixels."""

from __future__ import annotations

import numpy as np

# Pixels looked at together: their temporaries stay in the processor's cache.
_BLOCK_SIZE = 1 << 18


def list_runs(
    mask: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
    """List the runs of equal values along rows that are not background.

    Returns
    -------
    ids, classes, rows, columns, sizes : ndarray of shape (n_runs,), int64
        Value, class (None where there are none), first pixel and length.
    """
    if mask.ndim == 2:
        return _list_runs(mask, None)
    return _list_runs(mask[..., 0], mask[..., 1])


def _list_runs(
    ids: np.ndarray, classes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
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


def number_ids(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number ids without gaps, in linear time where they are no larger than needed.

    As ``numpy.unique(values, return_inverse=True)``.

    Parameters
    ----------
    values : ndarray of shape (n_values,), int
        Not below 0.
    """
    if not values.size or values.max() > 16 * values.size:
        ids, numbers = np.unique(values, return_inverse=True)
        return ids, numbers.reshape(-1)
    is_there = np.zeros(int(values.max()) + 1, dtype=bool)
    is_there[values] = True
    ids = np.flatnonzero(is_there).astype(values.dtype, copy=False)
    return ids, (np.cumsum(is_there) - 1)[values]


def commonest(
    numbers: np.ndarray, classes: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Find the class with the largest total size of each number.

    Of equals it is the lowest. What has no class (0) or an unknown one (-1) does not
    count where anything else is there; where nothing is, 0 goes before -1.
    """
    if not numbers.size:
        return np.empty(0, dtype=np.int64)
    # One entry for each class of each number, in order.
    order = np.lexsort((classes, numbers))
    numbers, classes = numbers[order], classes[order]
    is_first = np.append(True, np.diff(numbers) + np.abs(np.diff(classes)) > 0)
    totals = np.add.reduceat(sizes[order], np.flatnonzero(is_first))
    numbers, classes = numbers[is_first], classes[is_first]
    totals = np.where(classes > 0, totals, np.minimum(classes, 0))
    best = np.lexsort((-classes, totals, numbers))
    is_last = np.append(np.diff(numbers[best]) > 0, True)
    return classes[best[is_last]]


def one_class_each(
    ids: np.ndarray, classes: np.ndarray, *, keep_unknown: bool = False
) -> np.ndarray:
    """Give all pixels of an object the class of most of them.

    Parameters
    ----------
    ids, classes : ndarray of shape (height, width), int
        The two planes of a label image.
    keep_unknown : bool, default=False
        Whether pixels of an unknown class (-1) stay so.

    Returns
    -------
    ndarray of shape (height, width), int
        `classes` itself where no object has several.
    """
    of_run, kinds, rows, columns, sizes = _list_runs(ids, classes)
    kinds = np.asarray(kinds)
    is_object = of_run > 0
    of_run, kinds, rows, columns, sizes = (
        each[is_object] for each in (of_run, kinds, rows, columns, sizes)
    )
    numbers = number_ids(of_run)[1]
    best = commonest(numbers, kinds, sizes)[numbers]
    is_other = best != kinds
    if keep_unknown:
        is_other &= kinds >= 0
    if not is_other.any():
        return classes
    # The runs to change, pixel by pixel.
    lengths = sizes[is_other]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    changed = np.array(classes)
    place = (
        np.repeat(rows[is_other], lengths),
        (np.repeat(columns[is_other], lengths) + within),
    )
    changed[place] = np.repeat(best[is_other], lengths)
    return changed
