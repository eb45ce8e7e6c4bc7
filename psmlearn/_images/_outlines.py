# SPDX-License-Identifier: BSD-3-Clause
"""Outlines of objects as polygons that run along the edges of pixels.

Pixel (i, j) is the square from corner (i, j) to (i + 1, j + 1), so that polygons hold
the very pixels of their objects. All outlines of an image are traced at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Outline", "trace_outlines"]

# Steps along rows and columns: east, south, west and north.
_STEPS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])


@dataclass(frozen=True)
class Outline:
    """One object.

    Attributes
    ----------
    id : int
    polygons : list of list of ndarray of shape (n_corners, 2), int64
        One polygon for each piece of pixels that share edges: its outer ring, then
        its holes. Rows and columns of the corners, each once; on screen outer rings
        run clockwise, holes the other way.
    """

    id: int
    polygons: list[list[np.ndarray]]


def trace_outlines(labels: np.ndarray) -> Iterator[Outline]:
    """Yield the outline of every object, by ascending id.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Ids from 1; 0 and below are ground.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._outlines import trace_outlines
    >>> (outline,) = trace_outlines(np.array([[0, 7, 7]]))
    >>> outline.id, outline.polygons[0][0].tolist()
    (7, [[0, 3], [1, 3], [1, 1], [0, 1]])
    """
    from skimage.measure import label

    labels = np.maximum(labels, 0)
    pieces = label(labels, background=0, connectivity=1)
    if not pieces.any():
        return
    start, direction, piece = _edges(pieces)
    following = _following(start, direction, piece, pieces.shape)
    corner = direction[following] != direction  # where an edge ends and another goes on
    rings = _in_order(following, corner)
    ends = start[following[rings.edges]]
    width = pieces.shape[1] + 1
    corners = np.column_stack(np.divmod(ends, width))
    ids = np.zeros(int(pieces.max()) + 1, labels.dtype)
    ids[pieces] = labels
    yield from _grouped(corners, rings.bounds, piece[rings.edges], ids)


def _edges(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corner, direction and piece of all edges, with the piece on the right."""
    height, width = pieces.shape
    padded = np.pad(pieces, 1)
    inner = padded[1:-1, 1:-1]
    neighbours = (
        padded[:-2, 1:-1],  # above: the edge runs east
        padded[1:-1, 2:],
        padded[2:, 1:-1],
        padded[1:-1, :-2],
    )
    starts, directions, owners = [], [], []
    for heading, (other, (row, column)) in enumerate(
        zip(neighbours, ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True)
    ):
        rows, columns = np.nonzero((inner > 0) & (inner != other))
        starts.append((rows + row) * (width + 1) + columns + column)
        directions.append(np.full(len(rows), heading, np.int8))
        owners.append(inner[rows, columns])
    return np.concatenate(starts), np.concatenate(directions), np.concatenate(owners)


def _following(
    start: np.ndarray, direction: np.ndarray, piece: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the edge that goes on where each ends.

    Where a piece meets itself at a corner its edges turn to the left, across: what is
    enclosed becomes a hole that touches the outer ring, and no ring meets itself.
    """
    width = shape[1] + 1
    steps = _STEPS @ np.array([width, 1])
    end = start + steps[direction]
    n_corners = (shape[0] + 1) * width
    edge_at = np.full(4 * n_corners, -1, np.int64)
    edge_at[4 * start + direction] = np.arange(len(start))
    following = np.full(len(start), -1, np.int64)
    for turn in (-1, 0, 1):
        found = edge_at[4 * end + (direction + turn) % 4]
        fits = (following < 0) & (found >= 0)
        fits &= piece[found] == piece
        following[fits] = found[fits]
    return following


@dataclass(frozen=True)
class _Rings:
    """Edges that end in a corner, ring by ring in order, and where rings begin."""

    edges: np.ndarray
    bounds: np.ndarray


def _in_order(following: np.ndarray, corner: np.ndarray) -> _Rings:
    """Put the edges that end in corners in the order of their rings.

    By doubling of pointers: a number of rounds that grows as the logarithm of the
    longest ring, each over whole arrays.
    """
    at = np.flatnonzero(corner)
    place = np.full(len(corner), -1, np.int64)
    place[at] = np.arange(len(at))
    # Over straight runs to the next corner.
    ahead = following
    while not corner[ahead].all():
        ahead = np.where(corner[ahead], ahead, ahead[ahead])
    successor = place[ahead[at]]
    first = np.arange(len(at))  # the least number in the ring
    jump = successor.copy()
    while True:
        least = np.minimum(first, first[jump])
        if (least == first).all():
            break
        first, jump = least, jump[jump]
    # Steps that are left until the ring closes at its least number.
    left = np.where(successor == first, 0, 1)
    jump = np.where(successor == first, np.arange(len(at)), successor)
    while True:
        step = left[jump]
        if not step.any():
            break
        left, jump = left + step, jump[jump]
    order = np.lexsort((-left, first))
    begins = np.flatnonzero(np.diff(first[order], prepend=-1))
    return _Rings(at[order], np.append(begins, len(at)))


def _grouped(
    corners: np.ndarray, bounds: np.ndarray, piece: np.ndarray, ids: np.ndarray
) -> Iterator[Outline]:
    """Put rings together to pieces, and pieces to objects."""
    begins, ends = bounds[:-1], bounds[1:]
    # The shoelace formula of all rings: outer ones run clockwise on screen.
    after = np.arange(1, len(corners) + 1)
    after[ends - 1] = begins
    rows, columns = corners.T
    doubled = columns * rows[after] - columns[after] * rows
    is_hole = np.add.reduceat(doubled, begins) < 0
    of_piece = piece[begins]
    order = np.lexsort((is_hole, of_piece, ids[of_piece]))
    current: int | None = None
    polygons: list[list[np.ndarray]] = []
    for ring in order:
        own = int(ids[of_piece[ring]])
        if current is not None and own != current:
            yield Outline(current, polygons)
            polygons = []
        current = own
        if not is_hole[ring]:
            polygons.append([])
        polygons[-1].append(corners[begins[ring] : ends[ring]])
    if current is not None:
        yield Outline(current, polygons)
