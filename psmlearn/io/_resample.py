# SPDX-License-Identifier: BSD-3-Clause
"""Resample boxes of an image so that each is a crop of the whole, bit for bit.

What a pixel is made of depends on its place in the whole image alone. Weights are
multiples of 1/4096 that add up to 1, so that sums of integers are exact, in whatever
order they are taken: those of 8 bits stay below 2**24, so that float32 holds them,
those of 16 bits below 2**40. Sums of floats are taken in the order of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_BITS = 12
_UNIT = 1 << _BITS
# Bytes of the source, as sums, that are in memory at a time.
_BAND_BYTES = 1 << 25

Read = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Axis:
    """One axis of a resampled image.

    Attributes
    ----------
    n_in, n_out : int
        Pixels of the source and of the result.
    factor : float
        Source pixels for one of the result; areas are averaged above 1, and values
        are interpolated between the two nearest below.
    """

    n_in: int
    n_out: int
    factor: float

    def taps(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first source pixel and the weights of pixels start to stop - 1.

        Returns
        -------
        first : ndarray of shape (n,), int64
            May be -1, or beyond what the weights reach: see `clipped`.
        weights : ndarray of shape (n, n_taps), int64
            They add up to 4096.
        """
        place = np.arange(start, stop, dtype=np.float64)
        if self.factor < 1:
            centre = (place + 0.5) * self.factor - 0.5
            first = np.floor(centre)
            part = np.rint((centre - first) * _UNIT).astype(np.int64)
            return first.astype(np.int64), np.stack([_UNIT - part, part], axis=1)
        low = place * self.factor
        high = np.minimum((place + 1) * self.factor, self.n_in)
        first = np.floor(low)
        whole = float(self.factor).is_integer()
        n_taps = int(np.ceil(self.factor)) + (0 if whole else 1)
        edges = first[:, np.newaxis] + np.arange(n_taps + 1)
        edges = edges.clip(low[:, np.newaxis], high[:, np.newaxis])
        share = (edges - low[:, np.newaxis]) / (high - low)[:, np.newaxis]
        weights = np.diff(np.rint(share * _UNIT).astype(np.int64), axis=1)
        return first.astype(np.int64), weights

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the source pixels that pixels start to stop - 1 are made of."""
        n_taps = 2 if self.factor < 1 else int(np.ceil(self.factor)) + 1
        ends = self.taps(start, start + 1)[0][0], self.taps(stop - 1, stop)[0][0]
        return max(0, int(ends[0])), min(self.n_in, int(ends[1]) + n_taps)


def resample(
    read: Read, rows: Axis, columns: Axis, box: tuple[int, int, int, int]
) -> np.ndarray:
    """Resample a box, given in pixels of the result.

    Parameters
    ----------
    read : callable
        ``read(top, left, bottom, right)`` gives a box (h, w, c) of the source.
    rows, columns : Axis
    box : tuple of int
        top, left, bottom, right.

    Returns
    -------
    ndarray of shape (bottom - top, right - left, n_channels)
        In the dtype of the source.
    """
    top, left, bottom, right = box
    first, last = columns.span(left, right)
    # What the source takes as sums of 8 bytes, three channels at most.
    row_bytes = 24 * (last - first) * max(1.0, rows.factor)
    step = max(1, int(_BAND_BYTES / row_bytes))
    parts = []
    for start in range(top, bottom, step):
        stop = min(bottom, start + step)
        low, high = rows.span(start, stop)
        source = read(low, first, high, last)
        taps = rows.taps(start, stop), columns.taps(left, right)
        parts.append(_reduce(source, taps[0], low, taps[1], first))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _reduce(
    source: np.ndarray,
    row_taps: tuple[np.ndarray, np.ndarray],
    low: int,
    column_taps: tuple[np.ndarray, np.ndarray],
    first: int,
) -> np.ndarray:
    """Reduce rows, then columns, by sparse matrices."""
    n_rows, n_columns, n_channels = source.shape
    small = source.dtype == np.uint8
    kind = np.float32 if small else np.float64
    matrix = _matrix(row_taps, low, n_rows, kind)
    reduced = matrix @ source.reshape(n_rows, -1).astype(kind)
    if small:
        # 4 bits below a grey level are kept, and the next sums stay below 2**24.
        reduced *= np.float32(2.0 ** (4 - _BITS))
        np.rint(reduced, out=reduced)
    # Columns become rows, which sparse matrices take as they lie.
    n_out = len(column_taps[0])
    turned = reduced.reshape(len(reduced), n_columns, n_channels).transpose(1, 2, 0)
    turned = np.ascontiguousarray(turned).reshape(n_columns, -1)
    total = _matrix(column_taps, first, n_columns, kind) @ turned
    total *= kind(2.0 ** -((4 if small else _BITS) + _BITS))
    if source.dtype.kind in "iu":
        np.rint(total, out=total)
    total = total.astype(source.dtype).reshape(n_out, n_channels, -1)
    return np.ascontiguousarray(total.transpose(2, 0, 1))


def _matrix(
    taps: tuple[np.ndarray, np.ndarray], offset: int, n_in: int, kind: type
) -> Any:
    """Return the matrix (pixels of the result, of the source) of some taps.

    No weight that is 0 is in it, so that what a row holds depends on its place alone.
    """
    from scipy.sparse import csr_matrix

    firsts, weights = taps
    n_out, n_taps = weights.shape
    places = (firsts[:, np.newaxis] - offset) + np.arange(n_taps)
    there = weights != 0
    rows = np.broadcast_to(np.arange(n_out)[:, np.newaxis], weights.shape)
    columns = places.clip(0, n_in - 1)
    data = weights[there].astype(kind), (rows[there], columns[there])
    return csr_matrix(data, shape=(n_out, n_in))
