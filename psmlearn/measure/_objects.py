# SPDX-License-Identifier: BSD-3-Clause
"""The objects of a label image, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from psmlearn.measure._intensity import object_means
from psmlearn.metrics._object_classes import commonest, list_runs, number_ids

# Pixels of the objects that are looked at together: their arrays stay in the cache,
# and pages of memory are not asked for again and again.
_GROUP_SIZE = 1 << 17


@dataclass(frozen=True)
class Objects:
    """The pixels of some objects of a label image, by runs along the rows.

    Attributes
    ----------
    places : ndarray of shape (n_objects,), int64
        Place of each object among all, which are ordered by id.
    numbers, rows, first, last : ndarray of shape (n_runs,), int64
        Number of the object of each run, its row, its first and its last column;
        ordered by row.
    kinds : ndarray of shape (n_runs,), int64, or None
        Class of each run; None where there are none.
    index, row, column : ndarray of shape (n_pixels,), int64
        Number of the object of each pixel, and its place.
    """

    places: np.ndarray
    numbers: np.ndarray
    rows: np.ndarray
    first: np.ndarray
    last: np.ndarray
    kinds: np.ndarray | None
    index: np.ndarray
    row: np.ndarray
    column: np.ndarray

    @property
    def n_objects(self) -> int:
        return len(self.places)

    @property
    def n_pixels(self) -> np.ndarray:
        return np.bincount(self.index, minlength=self.n_objects)

    @property
    def classes(self) -> np.ndarray:
        """Class of most of the pixels of each object."""
        sizes = self.last - self.first + 1
        return commonest(self.numbers, np.asarray(self.kinds), sizes)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of a value of each pixel over each object."""
        sums = np.bincount(self.index, weights=values, minlength=self.n_objects)
        return sums / self.n_pixels

    def means_known(self, plane: np.ndarray) -> np.ndarray:
        """Mean of a plane over each object, without NaN; NaN where all is."""
        return object_means(plane[self.row, self.column], self.index, self.n_objects)


def list_objects(labels: np.ndarray) -> tuple[np.ndarray, Iterator[Objects]]:
    """List the ids of a label image, with or without classes, and its objects.

    Parameters
    ----------
    labels : ndarray of shape (height, width) or (height, width, 2), int

    Returns
    -------
    ids : ndarray of shape (n_objects,), int64
        Ascending.
    groups : iterator of Objects
        All objects, each in one group; one group without any where there are none.
        What lies together in the image is together, whatever the ids are.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure._objects import list_objects
    >>> ids, (group,) = list_objects(np.array([[7, 7, 0, 2]]))
    >>> ids.tolist(), ids[group.places].tolist(), group.n_pixels.tolist()
    ([2, 7], [7, 2], [2, 1])
    """
    own, kinds, rows, first, sizes = list_runs(labels)
    is_object = own > 0
    own, rows, first, sizes = (each[is_object] for each in (own, rows, first, sizes))
    if kinds is not None:
        kinds = kinds[is_object]
    ids, numbers = number_ids(own)
    return ids, _groups(len(ids), numbers, rows, first, sizes, kinds)


def _groups(
    n_objects: int,
    numbers: np.ndarray,
    rows: np.ndarray,
    first: np.ndarray,
    sizes: np.ndarray,
    kinds: np.ndarray | None,
) -> Iterator[Objects]:
    """Put together objects that begin beside each other."""
    begin = np.empty(n_objects, np.int64)
    begin[numbers[::-1]] = np.arange(len(numbers))[::-1]  # what is set last stays
    places = np.argsort(begin)
    turn = np.empty(n_objects, np.int64)
    turn[places] = np.arange(n_objects)
    turns = turn[numbers]
    areas = np.bincount(turns, weights=sizes, minlength=n_objects)
    # Numbers of 16 bits are sorted in linear time.
    step = max(_GROUP_SIZE, sizes.sum() // np.iinfo(np.uint16).max + 1)
    group = (np.cumsum(areas) // step).astype(np.uint16)
    of_run = group[turns]
    order = np.argsort(of_run, kind="stable")
    # Without any object there is one group, of none.
    found = np.unique(group) if n_objects else np.zeros(1, np.uint16)
    top = np.append(np.searchsorted(group, found), n_objects).tolist()
    starts = np.append(np.searchsorted(of_run[order], found), len(order)).tolist()
    for each in range(len(found)):
        at = order[starts[each] : starts[each + 1]]
        yield _objects(
            places[top[each] : top[each + 1]],
            turns[at] - top[each],
            rows[at],
            first[at],
            sizes[at],
            None if kinds is None else kinds[at],
        )


def _objects(
    places: np.ndarray,
    numbers: np.ndarray,
    rows: np.ndarray,
    first: np.ndarray,
    sizes: np.ndarray,
    kinds: np.ndarray | None,
) -> Objects:
    """List the pixels of runs."""
    step = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Objects(
        places,
        numbers,
        rows,
        first,
        first + sizes - 1,
        kinds,
        np.repeat(numbers, sizes),
        np.repeat(rows, sizes),
        np.repeat(first, sizes) + step,
    )
