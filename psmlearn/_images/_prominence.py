# SPDX-License-Identifier: BSD-3-Clause
"""How much objects stand out in an image, as those around them usually do."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage as ndi

from psmlearn._images._lengths import within_image

__all__ = [
    "FIELDS",
    "SIDES",
    "Measures",
    "Neighbourhood",
    "inner_edge",
    "measure_objects",
    "outline_gradient",
    "prominence",
    "prominence_of",
    "ring_reach",
]

SIDES = (
    (np.s_[:-1], np.s_[1:]),
    (np.s_[1:], np.s_[:-1]),
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:, 1:], np.s_[:, :-1]),
)
"""Each pixel and its neighbour, on four sides."""

# In typical diameters: reach of the ring around an object, side of the three running
# means that are a neighbourhood, deviation of the gradient.
_RING, _NEIGHBOURHOOD, _SLOPE = 0.25, 15.0, 0.035
# Least share of what is usual that counts.
_LEAST_SHARE = 1e-3
# Pixels of a cell of the coarse grid; bytes of a grid beyond which it is on disk, and
# of what is filtered at a time.
_COARSE = 8
_LARGEST_GRID, _CHUNK_BYTES = 1 << 28, 1 << 24


class Neighbourhood:
    """Means over wide surroundings, on a coarse grid."""

    def __init__(self, shape: tuple[int, ...], diameter: float) -> None:
        self.shape = shape
        self.side = max(1, round(_NEIGHBOURHOOD * diameter / _COARSE)) | 1

    def mean(self, plane: np.ndarray) -> np.ndarray:
        """Return the mean around each pixel."""
        padding = [(0, -side % _COARSE) for side in self.shape]
        padded = np.pad(plane, padding, mode="edge")
        height, width = (side // _COARSE for side in padded.shape)
        blocks = padded.reshape(height, _COARSE, width, _COARSE).mean((1, 3))
        return self._spread(self._blur(blocks))

    def weighted(
        self, rows: np.ndarray, columns: np.ndarray, weight: np.ndarray, *values
    ) -> list[np.ndarray]:
        """Return the weighted means of the values of points around each of them."""
        shape = tuple(-(-side // _COARSE) for side in self.shape)
        place = rows.astype(int) // _COARSE, columns.astype(int) // _COARSE
        sums = []
        for value in (np.ones(len(weight)), *values):
            with _zeros(shape) as grid:
                np.add.at(grid, place, weight * value)
                sums.append(np.asarray(self._blur(grid)[place]))
        return [each / np.maximum(sums[0], 1e-12) for each in sums[1:]]

    def _blur(self, blocks: np.ndarray) -> np.ndarray:
        """Blur in place, some lines at a time."""
        for _ in range(3):
            for axis in (0, 1):
                lines = np.moveaxis(blocks, axis, 1)
                n_lines = max(1, _CHUNK_BYTES // (blocks.itemsize * lines.shape[1]))
                for start in range(0, len(lines), n_lines):
                    part = lines[start : start + n_lines]
                    part[...] = ndi.uniform_filter1d(part, self.side, axis=1)
        return blocks

    def _spread(self, blocks: np.ndarray) -> np.ndarray:
        """Interpolate from the middles of blocks to pixels."""
        for axis, side in enumerate(self.shape):
            n_blocks = blocks.shape[axis]
            place = (np.arange(side) + 0.5) / _COARSE - 0.5
            place = np.clip(place, 0, n_blocks - 1)
            lower = np.minimum(place.astype(int), max(n_blocks - 2, 0))
            part = np.expand_dims((place - lower).astype(np.float32), 1 - axis)
            upper = np.minimum(lower + 1, n_blocks - 1)
            low, high = (np.take(blocks, at, axis=axis) for at in (lower, upper))
            blocks = low + part * (high - low)
        return blocks


@contextmanager
def _zeros(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Give a grid of zeros, on disk where it would take too much memory."""
    n_bytes = 8 * math.prod(shape)
    if n_bytes <= _LARGEST_GRID:
        yield np.zeros(shape)
        return
    with tempfile.TemporaryFile() as file:
        file.truncate(n_bytes)
        yield np.memmap(file, np.float64, "r+", shape=shape)


@dataclass(frozen=True)
class Measures:
    """What is measured of each object, in the order of ids.

    Attributes
    ----------
    rows, columns : ndarray of shape (n,), float64
        Centres.
    area : ndarray of shape (n,), int64
        Pixels.
    contrast, slope : ndarray of shape (n,), float64
        Mean height above that of the ring around, and mean gradient on the outline.
    """

    rows: np.ndarray
    columns: np.ndarray
    area: np.ndarray
    contrast: np.ndarray
    slope: np.ndarray

    def usual(self, around: Neighbourhood) -> list[np.ndarray]:
        """Return what area, contrast and slope usually are around each object."""
        weight = self.area.astype(float)
        values = (self.area, self.contrast, self.slope)
        return around.weighted(self.rows, self.columns, weight, *values)


FIELDS = tuple(each.name for each in fields(Measures))
"""What is measured, in the order of `Measures`."""


def measure_objects(
    labels: np.ndarray,
    height: np.ndarray,
    gradient: np.ndarray,
    reach: int,
    *,
    corner: tuple[int, int] = (0, 0),
) -> Measures:
    """Measure objects 1..n, all of which occur.

    Parameters
    ----------
    reach : int
        Of the ring around an object, in pixels.
    corner : tuple of two int, default=(0, 0)
        Row and column of the first pixel, where this is a part of an image.
    """
    n_ids = labels.max() + 1
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    own = flat[places]
    area = np.bincount(own, minlength=n_ids)[1:]
    row, column = (
        np.bincount(own, side + first, n_ids)[1:] / area
        for side, first in zip(np.divmod(places, labels.shape[1]), corner, strict=True)
    )

    def mean(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
        count = np.bincount(ids, minlength=n_ids)[1:]
        return np.bincount(ids, values, n_ids)[1:] / np.maximum(count, 1)

    ring = _grown(labels, reach)
    ring[labels > 0] = 0
    outside = np.flatnonzero(ring)
    contrast = mean(own, height.ravel()[places]) - mean(
        ring.ravel()[outside], height.ravel()[outside]
    )
    on_edge = np.flatnonzero(inner_edge(labels))
    slope = mean(flat[on_edge], gradient.ravel()[on_edge])
    return Measures(row, column, area, contrast, slope)


def ring_reach(diameter: float) -> int:
    """Return the reach of the ring around objects, in pixels."""
    return max(1, round(_RING * diameter))


def outline_gradient(height: np.ndarray, diameter: float) -> np.ndarray:
    """Return the gradient that tells how steep the outlines of objects are."""
    return ndi.gaussian_gradient_magnitude(height, max(0.5, _SLOPE * diameter))


def prominence(
    labels: np.ndarray, height: np.ndarray, *, diameter: float
) -> np.ndarray:
    """Tell how much objects stand out, as those around them usually do.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int32
        Objects 1..n.
    height : ndarray of shape (height, width), float32
        High in objects, such as an amount of stain.
    diameter : float
        Typical diameter of an object in pixels.

    Returns
    -------
    prominence : ndarray of shape (n,), float64
        In the order of ids: geometric mean of the object's area, of its mean height
        above that of the ring around it, and of the gradient on its outline, each by
        the mean of the neighbourhood, in which objects weigh by their area. About 1.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._prominence import prominence
    >>> labels = np.zeros((60, 90), np.int32)
    >>> for number, left in enumerate((10, 40, 70), start=1):
    ...     labels[20:35, left:left + 15] = number
    >>> height = np.choose(labels, [0, 1, 1, 0.1]).astype(np.float32)
    >>> prominence(labels, height, diameter=15).round(1).tolist()
    [1.3, 1.3, 0.3]
    """
    diameter = within_image(diameter, height.shape)
    if not labels.any():
        return np.empty(0)
    gradient = outline_gradient(height, diameter)
    found = measure_objects(labels, height, gradient, ring_reach(diameter))
    return prominence_of(found, height.shape, diameter)


def prominence_of(
    found: Measures, shape: tuple[int, ...], diameter: float
) -> np.ndarray:
    """Return the same from what was measured of all objects of an image."""
    usual = found.usual(Neighbourhood(shape, diameter))
    shares = [
        np.maximum(each / np.maximum(mean, 1e-6), _LEAST_SHARE)
        for each, mean in zip(
            (found.area, found.contrast, found.slope), usual, strict=True
        )
    ]
    return np.prod(shares, axis=0) ** (1 / len(shares))


def inner_edge(labels: np.ndarray) -> np.ndarray:
    """Pixels of objects with a neighbour of another label."""
    edge = np.zeros(labels.shape, bool)
    for here, there in SIDES:
        edge[here] |= labels[here] != labels[there]
    return edge & (labels > 0)


def _grown(labels: np.ndarray, reach: int) -> np.ndarray:
    """Let ids grow into the background, by city blocks."""
    for _ in range(reach):
        before, labels = labels, labels.copy()
        for here, there in SIDES:
            near = before[there]
            np.copyto(labels[here], near, where=(labels[here] == 0) & (near > 0))
    return labels
