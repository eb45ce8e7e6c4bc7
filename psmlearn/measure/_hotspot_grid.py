# SPDX-License-Identifier: BSD-3-Clause
"""Count the nuclei of all fields whose centres lie on a grid, in linear time.

A nucleus lies in the fields of a stretch of centres in each of some twenty rows of the
grid, whatever the radius: all of these are marked where they begin and end, and summed
along the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Centres tried along one radius. Finer ones find the same nuclei but for a few.
_STEPS = 10
# Centres of a tile of the grid, along a side, and nuclei that are looked at together.
_TILE = 256
_CHUNK = 1 << 12
# Part of a step by which rounding never moves a place.
_CLOSE = 1e-6

Tile = tuple[int, int]


class FieldGrid:
    """The centres of all fields that are tried in an image.

    Parameters
    ----------
    radius : float
        Of the circle, or half the side of the square, in pixels.
    shape : (height, width)
        Not smaller than the field.
    is_circle : bool
    """

    def __init__(self, radius: float, shape: tuple[int, int], is_circle: bool) -> None:
        # Pixels are centred on whole numbers, so the image begins at -0.5.
        self._lowest = radius - 0.5
        self._highest = np.subtract(shape, radius + 0.5)
        self._radius, self._step = radius, radius / _STEPS
        self._is_circle = is_circle
        spaces = (self._highest - self._lowest) / self._step
        self._last = np.ceil(spaces - 1e-9).astype(np.int64)

    def places(self, indices: np.ndarray, axis: int) -> np.ndarray:
        """Rows (0) or columns (1) of centres, in pixels."""
        return np.minimum(self._lowest + indices * self._step, self._highest[axis])

    def tiles(self, points: np.ndarray) -> Iterator[tuple[Tile, np.ndarray]]:
        """Yield the tiles whose fields may hold nuclei, each with the numbers of these.

        Parameters
        ----------
        points : ndarray of shape (n, 2)
            Rows and columns.
        """
        spans = [self._span(points[:, axis], 0.0, axis) for axis in (0, 1)]
        first, final = np.stack(spans, axis=-1) // _TILE
        # What lies in no field has its last before its first.
        is_there = (spans[0][0] <= spans[0][1]) & (spans[1][0] <= spans[1][1])
        found, numbers = [], []
        for offset in np.ndindex(2, 2):  # a tile is wider than any field
            tile = first + offset
            here = np.flatnonzero(is_there & (tile <= final).all(axis=1))
            found.append(tile[here])
            numbers.append(here)
        tiles, members = np.concatenate(found), np.concatenate(numbers)
        order = np.lexsort(tiles.T[::-1])
        tiles, members = tiles[order], members[order]
        cuts = np.flatnonzero((tiles[1:] != tiles[:-1]).any(axis=1)) + 1
        for start, part in zip([0, *cuts], np.split(members, cuts), strict=True):
            if part.size:
                yield (int(tiles[start, 0]), int(tiles[start, 1])), part

    def count(self, points: np.ndarray, tile: Tile) -> np.ndarray:
        """Count the points in the fields of a tile.

        Returns
        -------
        ndarray of shape (n_rows, n_columns), int64
            By the centres of the tile, which begins at its number times `TILE`.
        """
        top, left = (number * _TILE for number in tile)
        n_rows, n_columns = np.minimum(_TILE, self._last + 1 - (top, left))
        marks = np.zeros(n_rows * (n_columns + 1), dtype=np.int64)
        for start in range(0, len(points), _CHUNK):
            part = points[start : start + _CHUNK]
            begins, ends = self._stretches(part, (top, left), (n_rows, n_columns))
            marks += np.bincount(begins, minlength=marks.size)
            marks -= np.bincount(ends, minlength=marks.size)
        return marks.reshape(n_rows, -1).cumsum(axis=1)[:, :-1]

    def _stretches(
        self, points: np.ndarray, origin: Tile, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where stretches begin and end, in a tile with a column more."""
        first, final = self._span(points[:, 0], 0.0, 0)
        first = np.maximum(first, origin[0])
        final = np.minimum(final, origin[0] + size[0] - 1)
        lengths = np.maximum(final - first + 1, 0)
        numbers = np.repeat(np.arange(len(points)), lengths)
        within = np.arange(numbers.size) - np.repeat(
            np.cumsum(lengths) - lengths, lengths
        )
        rows = first[numbers] + within
        if self._is_circle:
            gaps = self.places(rows, 0) - points[numbers, 0]
            first, final = self._span(points[numbers, 1], gaps, 1)
        else:
            first, final = (s[numbers] for s in self._span(points[:, 1], 0.0, 1))
        rows = (rows - origin[0]) * (size[1] + 1)
        first = np.maximum(first - origin[1], 0)
        final = np.minimum(final - origin[1], size[1] - 1)
        is_there = first <= final
        return (rows + first)[is_there], (rows + final + 1)[is_there]

    def _span(
        self, values: np.ndarray, gaps: float | np.ndarray, axis: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the first and the last centre whose field reaches to nuclei.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Rows or columns of nuclei.
        gaps : float or ndarray of shape (n,)
            Their distances from the centres along the other axis, at most the radius.
        """
        reach: Any = self._radius
        if self._is_circle:
            reach = np.sqrt(np.maximum(self._radius**2 - np.square(gaps), 0.0))
        start, stop = (
            (values + side * reach - self._lowest) / self._step for side in (-1, 1)
        )
        last = self._last[axis]
        first = np.clip(np.ceil(start), 0, last + 1)
        final = np.clip(np.floor(stop), -1, last)
        # The last centre lies before its place; what rounding may have moved is looked
        # at again.
        close = _CLOSE * (1 + abs(last) * 1e-7)
        doubtful = (first == last) | (final == last - 1)
        for steps in (start, stop):
            doubtful |= np.abs(steps - np.rint(steps)) < close
        first, final = first.astype(np.int64), final.astype(np.int64)
        at = np.flatnonzero(doubtful)
        if at.size:
            gaps = np.broadcast_to(gaps, values.shape)[at]
            first[at], final[at] = self._exact_span(
                first[at], final[at], values[at], gaps, axis
            )
        return first, final

    def _exact_span(
        self,
        first: np.ndarray,
        final: np.ndarray,
        values: np.ndarray,
        gaps: np.ndarray,
        axis: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mend spans that may be wrong by a centre at either end."""
        last = self._last[axis]
        squares = np.square(gaps)

        def holds(indices: np.ndarray) -> np.ndarray:
            distances = self.places(indices, axis) - values
            if self._is_circle:
                return distances * distances + squares <= self._radius**2
            return np.abs(distances) <= self._radius

        first, final = np.clip(first, 0, last), np.clip(final, 0, last)
        first -= (first > 0) & holds(first - 1)
        first += ~holds(first)
        final += (final < last) & holds(final + 1)
        final -= ~holds(final)
        return first, final


def tile_origin(tile: Tile) -> np.ndarray:
    """Row and column, on the grid, of the first centre of a tile."""
    return np.multiply(tile, _TILE)
