# SPDX-License-Identifier: BSD-3-Clause
"""Resample boxes of an image so that each is a crop of the whole, bit for bit.

What a pixel is made of depends on its place in the whole image alone. Weights are
multiples of 1/4096 that add up to 1, so that sums of integers are exact, in whatever
order they are taken; those of floats are taken tap by tap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        band = _reduce(source, rows.taps(start, stop), low, 0)
        band = _reduce(band, columns.taps(left, right), first, 1)
        parts.append(_finish(band, source.dtype))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _reduce(
    source: np.ndarray, taps: tuple[np.ndarray, np.ndarray], offset: int, axis: int
) -> np.ndarray:
    """Add up what each tap gives along an axis, in units of 1/4096 (floats: of 1)."""
    first, weights = taps
    kind = np.dtype(np.float64)
    if source.dtype.kind in "iu":
        # The first pass of 8 and 16 bits fits in 32.
        kind = np.dtype(np.int32 if source.dtype.itemsize <= 2 else np.int64)
        kind = kind if axis == 0 else np.dtype(np.int64)
    last = source.shape[axis] - 1
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total = None
    for tap in range(weights.shape[1]):
        place = (first + (tap - offset)).clip(0, last)
        weight = weights[:, tap].astype(kind)
        if kind.kind == "f":
            weight = weight / _UNIT
        part = source.take(place, axis=axis).astype(kind, copy=False)
        part *= weight.reshape(shape)
        if total is None:
            total = part
        else:
            total += part
    if total is None:
        raise ValueError("no taps")
    return total


def _finish(total: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round sums to the dtype of the source."""
    if dtype.kind not in "iu":
        return np.ascontiguousarray(total.astype(dtype))
    total += 1 << (2 * _BITS - 1)
    total >>= 2 * _BITS
    return np.ascontiguousarray(total.astype(dtype))
