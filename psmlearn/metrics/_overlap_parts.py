# SPDX-License-Identifier: BSD-3-Clause
"""Parts of the table of overlaps, of blocks of an image, put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from psmlearn.metrics._checks import MaskPair
from psmlearn.metrics._object_classes import list_runs
from psmlearn.metrics._overlap import Runs

_LARGEST_KEY = 2**62


class Centres(NamedTuple):
    """Sums over the pixels of each object, from which its centre follows.

    Fields are arrays of shape (n_objects,), int64, in the order of the ids.
    `twice_columns` is twice the sum of the columns.
    """

    ids: np.ndarray
    areas: np.ndarray
    rows: np.ndarray
    twice_columns: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Mean row and column of each object, of shape (n_objects, 2)."""
        sums = np.stack([self.rows, self.twice_columns / 2], axis=-1)
        return sums / self.areas[:, np.newaxis]


def is_partial(pair: MaskPair) -> bool:
    """Tell whether any pixel does not count: unknown, or outside of the region."""
    if pair.region is not None and not pair.region.all():
        return True
    planes = (pair.true, pair.pred, pair.true_classes, pair.pred_classes)
    return any(
        plane is not None and plane.dtype.kind == "i" and bool(plane.min() < 0)
        for plane in planes
    )


def merge_runs(parts: Sequence[Runs]) -> Runs:
    """Bring what is alike into one entry; ordered by the true id, then the others."""
    columns: list[Any] = [
        None if field[0] is None else np.concatenate(field)
        for field in zip(*parts, strict=True)
    ]
    runs = Runs(*columns)
    keys = [key for key in (*runs[:2], *runs[3:]) if key is not None]
    order = _order(keys)
    is_first = np.zeros(order.size, dtype=bool)
    is_first[:1] = True
    for key in keys:
        ordered = key[order]
        is_first[1:] |= ordered[1:] != ordered[:-1]
    first = np.flatnonzero(is_first)
    sizes = runs.sizes[order]
    totals = np.add.reduceat(sizes, first) if first.size else sizes
    kept = order[first]
    columns = [None if column is None else column[kept] for column in runs]
    return Runs(*columns)._replace(sizes=totals)


def _order(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Sort by the first key, then by the second and so on."""
    if not keys[0].size:
        return np.empty(0, dtype=np.intp)
    lows = [int(key.min()) for key in keys]
    spans = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if math.prod(spans) > _LARGEST_KEY:
        return np.lexsort(keys[::-1])
    # One number for all keys is sorted several times as fast.
    joined = np.zeros(keys[0].size, dtype=np.int64)
    for key, low, span in zip(keys, lows, spans, strict=True):
        joined *= span
        joined += key.astype(np.int64) - low
    return np.argsort(joined)


def sum_centres(ids: np.ndarray, offset: tuple[int, int]) -> Centres:
    """Sum rows and columns of the objects of a block."""
    values, _, rows, columns, sizes = list_runs(ids)
    is_object = values > 0
    values, rows, columns, sizes = (
        each[is_object] for each in (values, rows, columns, sizes)
    )
    rows, columns = rows + offset[0], columns + offset[1]
    twice = sizes * (2 * columns + sizes - 1)
    return merge_centres([Centres(values, sizes, sizes * rows, twice)])


def merge_centres(parts: Sequence[Centres]) -> Centres:
    """Sum what came of each object."""
    ids, *sums = (np.concatenate(field) for field in zip(*parts, strict=True))
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: ids.size])
    if not first.size:
        return Centres(ids, *sums)
    return Centres(ids[first], *(np.add.reduceat(s[order], first) for s in sums))
