# SPDX-License-Identifier: BSD-3-Clause
"""Run lengths of objects, as COCO stores masks, all objects of an image at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["RunLengths", "encode_objects"]


@dataclass(frozen=True)
class RunLengths:
    """One object.

    Attributes
    ----------
    id : int
    counts : str
        Lengths of runs down the columns, from ground on, in COCO's compressed form.
    area : int
        Number of pixels.
    box : list of int
        First column, first row, width and height.
    """

    id: int
    counts: str
    area: int
    box: list[int]


def encode_objects(labels: np.ndarray) -> Iterator[RunLengths]:
    """Yield the run lengths of every object, by ascending id.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Ids from 1; 0 and below are ground.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn._images._run_lengths import encode_objects
    >>> (runs,) = encode_objects(np.array([[0, 7, 0], [0, 7, 0]]))
    >>> runs.counts, runs.area, runs.box  # 2 of ground, 2 of the object, 2 of ground
    ('222', 2, [1, 0, 1, 2])
    """
    height = labels.shape[0]
    flat = labels.ravel(order="F")
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    ends = np.append(starts[1:], flat.size)
    own = flat[starts].astype(np.int64)
    order = np.flatnonzero(own > 0)
    order = order[np.argsort(own[order], kind="stable")]
    own, starts, ends = own[order], starts[order], ends[order]
    if not own.size:
        return
    begins = np.flatnonzero(np.diff(own, prepend=0))
    counts, sizes = _counts(starts, ends, begins, flat.size)
    boxes = _boxes(starts, ends, begins, height)
    areas = np.add.reduceat(ends - starts, begins)
    for index, text in enumerate(_compressed(counts, sizes)):
        yield RunLengths(
            int(own[begins[index]]), text, int(areas[index]), boxes[index].tolist()
        )


def _counts(
    starts: np.ndarray, ends: np.ndarray, begins: np.ndarray, n_pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of all objects' runs in turn, and how many each has."""
    before = np.append(0, ends[:-1])
    before[begins] = 0
    last = np.append(begins[1:], len(starts)) - 1
    rest = n_pixels - ends[last]
    sizes = 2 * (last + 1 - begins) + (rest > 0)
    counts = np.empty(sizes.sum(), np.int64)
    # Objects before it have made place for what is left after their last run.
    shift = np.cumsum(rest > 0) - (rest > 0)
    place = 2 * np.arange(len(starts)) + np.repeat(shift, last + 1 - begins)
    counts[place] = starts - before
    counts[place + 1] = ends - starts
    counts[place[last[rest > 0]] + 2] = rest[rest > 0]
    return counts, sizes


def _boxes(
    starts: np.ndarray, ends: np.ndarray, begins: np.ndarray, height: int
) -> np.ndarray:
    left, top = np.divmod(starts, height)
    right, bottom = np.divmod(ends - 1, height)
    # What goes on in the next column has been at the bottom and is at the top.
    wraps = left != right
    top, bottom = np.where(wraps, 0, top), np.where(wraps, height - 1, bottom)
    first = [np.minimum.reduceat(each, begins) for each in (left, top)]
    last = [np.maximum.reduceat(each, begins) for each in (right, bottom)]
    sizes = [end - begin + 1 for begin, end in zip(first, last, strict=True)]
    return np.stack([*first, *sizes], axis=1)


def _compressed(counts: np.ndarray, sizes: np.ndarray) -> Iterator[str]:
    """Yield the text of each object's counts; see `datasets._coco.decode_counts`."""
    begins = np.cumsum(sizes) - sizes
    index = np.arange(len(counts)) - np.repeat(begins, sizes)
    values = counts.copy()
    later = np.flatnonzero(index > 2)
    values[later] -= counts[later - 2]
    groups, goes_on = [], []
    more = np.ones(len(values), dtype=bool)
    while more.any():
        low = values & 31
        values >>= 5
        goes_on.append(more)
        more = more & np.where(low & 16, values != -1, values != 0)
        groups.append((low | np.where(more, 32, 0)) + 48)
    used = np.stack(goes_on, axis=1)
    text = np.stack(groups, axis=1).astype(np.uint8)[used].tobytes().decode("ascii")
    lengths = np.add.reduceat(used.sum(axis=1), begins)
    ends = np.cumsum(lengths)
    for begin, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
        yield text[begin:end]
