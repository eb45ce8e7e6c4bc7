# SPDX-License-Identifier: BSD-3-Clause
"""Objects as sets of pixels."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from psmlearn.metrics._overlap import number_ids

# Up to so many distances a table of them all is faster than a tree.
_SMALL_TABLE = 1 << 12


class Shapes:
    """The objects of a label image, each as a set of pixels.

    Parameters
    ----------
    ids : ndarray of shape (height, width), int
        0 is background, each id above 0 an object.

    Attributes
    ----------
    n_objects : int
        Objects are numbered from 0 in the order of their ids.
    areas : ndarray of shape (n_objects,), int64
        Pixels of each.
    boxes : ndarray of shape (n_objects, 4), int64
        First row, first column, last row and last column of each.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self._width = ids.shape[1]
        inside = np.flatnonzero(ids)
        numbers, self.areas = number_ids(
            np.ravel(ids)[inside].astype(np.int64, copy=False),
            np.ones(inside.size, dtype=np.int64),
        )
        self.n_objects = self.areas.size
        self._numbers = np.full(ids.size, -1, dtype=np.int32)
        self._numbers[inside] = numbers
        self._pixels, self._starts = _group(inside, numbers, self.n_objects)
        outline = np.flatnonzero(_is_outline(self._numbers.reshape(ids.shape)))
        self._outline, self._outline_starts = _group(
            outline, self._numbers[outline], self.n_objects
        )
        self.boxes = self._find_boxes()
        self._trees: dict[int, KDTree] = {}
        self._box_tree: KDTree | None = None

    def pixels(self, index: int) -> np.ndarray:
        """List the places in the flattened image of an object's pixels."""
        return self._pixels[self._starts[index] : self._starts[index + 1]]

    def outline(self, index: int) -> np.ndarray:
        """List the places of the pixels of which one of 4 neighbours is no part."""
        starts = self._outline_starts
        return self._outline[starts[index] : starts[index + 1]]

    def pixels_in_box(self, index: int, box: np.ndarray) -> np.ndarray:
        """List the places of an object's pixels inside a box."""
        top, left, bottom, right = box
        plane = self._numbers.reshape(-1, self._width)
        inside = plane[top : bottom + 1, left : right + 1] == index
        rows, columns = np.nonzero(inside)
        return (rows + top) * self._width + columns + left

    def without(self, places: np.ndarray, index: int) -> np.ndarray:
        """Leave out the places that belong to an object."""
        return places[self._numbers[places] != index]

    def distances(self, places: np.ndarray, index: int) -> np.ndarray:
        """Measure how far places are from the outline of an object."""
        outline = self.outline(index)
        if places.size * outline.size <= _SMALL_TABLE:
            return cdist(self._points(places), self._points(outline)).min(axis=1)
        if index not in self._trees:
            self._trees[index] = KDTree(self._points(outline))
        return self._trees[index].query(self._points(places))[0]

    def near(self, box: np.ndarray, n_objects: int) -> tuple[np.ndarray, np.ndarray]:
        """List the objects whose boxes are most like a box.

        Returns
        -------
        gaps : ndarray of float
            The largest difference of a side, in rising order: no object's Hausdorff
            distance to one with that box is less.
        indices : ndarray of int
            The objects.
        """
        if self._box_tree is None:
            self._box_tree = KDTree(self.boxes)
        k = np.arange(1, min(n_objects, self.n_objects) + 1)
        return self._box_tree.query(box, k, p=np.inf)

    def _points(self, places: np.ndarray) -> np.ndarray:
        return np.stack(np.divmod(places, self._width), axis=1).astype(np.float64)

    def _find_boxes(self) -> np.ndarray:
        if not self.n_objects:
            return np.empty((0, 4), dtype=np.int64)
        rows, columns = np.divmod(self._outline, self._width)
        starts = self._outline_starts[:-1]
        first = [np.minimum.reduceat(values, starts) for values in (rows, columns)]
        last = [np.maximum.reduceat(values, starts) for values in (rows, columns)]
        return np.stack([*first, *last], axis=1)


def _group(
    places: np.ndarray, numbers: np.ndarray, n_objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort places by object, and tell where each object's begin and end."""
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=n_objects))
    return places[order], np.concatenate([[0], ends])


def _is_outline(numbers: np.ndarray) -> np.ndarray:
    """Mark the pixels of objects with a neighbour, or a border, that is not theirs."""
    outline = np.ones(numbers.shape, dtype=bool)
    centre = numbers[1:-1, 1:-1]
    outline[1:-1, 1:-1] = (
        (centre != numbers[:-2, 1:-1])
        | (centre != numbers[2:, 1:-1])
        | (centre != numbers[1:-1, :-2])
        | (centre != numbers[1:-1, 2:])
    )
    return outline & (numbers >= 0)
