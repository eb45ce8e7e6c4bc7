# SPDX-License-Identifier: BSD-3-Clause
"""Outlines in JSON files, read safely and filled: holes, parts and classes."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from psmlearn.datasets._folders import is_regular
from psmlearn.io._limits import RefusedError
from psmlearn.io._read import read_size

MAX_JSON_BYTES = 1 << 27
"""Parsed, a file takes some twenty-four times its size in memory."""
# Masks of four bytes a pixel are made of what an image merely declares.
MAX_PIXELS = 1 << 28
_BYTES_AT_ONCE = 1 << 20
_MAX_COORDINATE = 1e9
# Edges are crossed with rows some at a time, so that memory stays bounded.
_CROSSINGS_AT_ONCE = 1 << 16
# A simple outline with a vertex in each pixel stays far below; more is a tangle.
_MAX_CROSSINGS = 1 << 28

Pixels = tuple[np.ndarray, np.ndarray]


def read_json(
    path: str, *, allow_nan: bool = False, max_bytes: int | None = None
) -> object:
    """Read a JSON file (or .gz of one), and refuse what cannot be trusted.

    Parameters
    ----------
    path : str
    allow_nan : bool, default=False
        Whether NaN and Infinity, which are no JSON, are let through: QuPath
        writes them as measurements.
    max_bytes : int or None, default=None
        Largest file, unpacked, that is read; None for `MAX_JSON_BYTES`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    IsADirectoryError
        If it is a folder.
    ValueError
        If it is too large, too deeply nested, or broken, or an object has a key
        twice; the path is named, and the line where it is known.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a folder; expected a JSON file.")
    if not is_regular(path):
        raise FileNotFoundError(f"No such JSON file: {path!r}.")
    try:
        data = _read_bytes(path, MAX_JSON_BYTES if max_bytes is None else max_bytes)
        return json.loads(
            data,
            parse_constant=None if allow_nan else _refuse_constant,
            object_pairs_hook=_as_object,
        )
    except RecursionError as error:
        raise ValueError(f"{path!r} is nested too deeply to be read.") from error
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except RefusedError as error:
        raise ValueError(f"{path!r} {error}.") from error
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path!r} is a broken JSON file: {error}.") from error


def _read_bytes(path: str, limit: int) -> bytes:
    """Read a file, unpacked if its name says so, up to the limit."""
    packed = path.lower().endswith(".gz")
    if not packed and os.path.getsize(path) > limit:
        raise _too_large(limit)
    opener = gzip.open if packed else open
    parts, n_bytes = [], 0
    with opener(path, "rb") as file:
        while part := file.read(_BYTES_AT_ONCE):
            parts.append(part)
            n_bytes += len(part)
            if n_bytes > limit:
                raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        f"holds more than {limit} bytes, and reading it would take some 24 times as "
        "much memory; split it by image, or raise max_bytes"
    )


def _as_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON; of two values of a key, neither is right."""
    told = dict(pairs)
    if len(told) < len(pairs):
        seen: set[str] = set()
        twice = ""
        for twice, _ in pairs:
            if twice in seen:
                break
            seen.add(twice)
        raise RefusedError(f"holds an object with the key {twice!r:.60} twice")
    return told


def _refuse_constant(name: str) -> float:
    raise RefusedError(f"holds {name}, which is no JSON; write numbers or null")


def read_drawable_size(path: str) -> tuple[int, int]:
    """Return the size of an image whose mask is to be drawn, if it is sane."""
    height, width = read_size(path)
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{path!r} declares {height} x {width} pixels; masks of up to "
            f"{MAX_PIXELS} are drawn: cut it into tiles."
        )
    return height, width


def as_vertices(values: Any, name: str) -> np.ndarray:
    """Turn pairs (x, y), as JSON tells them, into (row, column).

    In COCO and QuPath alike, pixel 0 reaches from 0 to 1; here its centre is at
    0, hence the shift by half a pixel.

    Parameters
    ----------
    values : list of [x, y] or [x, y, z]
    name : str
        What to call them in errors.

    Returns
    -------
    ndarray of shape (n_vertices, 2), dtype float64
    """
    try:
        pairs = np.asarray(values)
    except (ValueError, OverflowError):
        pairs = np.empty(0)
    if pairs.shape == (0,) and isinstance(values, list) and not values:
        return np.empty((0, 2))
    if pairs.ndim != 2 or pairs.shape[1] not in (2, 3) or pairs.dtype.kind not in "iuf":
        raise ValueError(f"{name} is no list of coordinates [x, y]")
    if any(isinstance(value, bool) for pair in values for value in pair):
        raise ValueError(f"{name} has true or false for a coordinate")
    vertices = pairs[:, 1::-1].astype(np.float64) - 0.5
    if not (np.abs(vertices) <= _MAX_COORDINATE).all():
        raise ValueError(
            f"{name} has a coordinate that is not finite, or beyond "
            f"{_MAX_COORDINATE:g} pixels"
        )
    return vertices


def fill_polygon(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> Pixels:
    """Return the pixels whose centres lie inside a polygon.

    By the even-odd rule over all its rings, so that inner ones are holes, and
    with half-open edges, so that polygons that share an edge share no pixel and
    leave none between them. Time is linear in rows crossed and in the area.

    Parameters
    ----------
    rings : sequence of ndarray of shape (n_vertices, 2)
        Vertices as (row, column); closing is implied. Rings of fewer than three
        vertices are skipped.
    shape : tuple (height, width)

    Returns
    -------
    rows, columns : ndarray of shape (n_pixels,)

    Raises
    ------
    ValueError
        If it crosses more rows than any outline drawn by a hand or a program.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.datasets._polygons import fill_polygon
    >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]])
    >>> rows, columns = fill_polygon([square], (9, 9))
    >>> rows.tolist(), columns.tolist()
    ([1, 1, 2, 2], [1, 2, 1, 2])
    """
    rings = [ring for ring in rings if len(ring) >= 3]
    if not rings:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    falls = (start[:, 0] <= end[:, 0])[:, np.newaxis]
    upper, lower = np.where(falls, start, end), np.where(falls, end, start)
    first, last = (_to_grid(edge[:, 0], shape[0]) for edge in (upper, lower))
    left, right = _to_grid(np.array([start[:, 1].min(), start[:, 1].max()]), shape[1])
    top, bottom = first.min(), last.max()
    flips = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    for edge, rows in _cross_rows(first, last):
        slopes = lower[edge, 1] - upper[edge, 1]
        slopes /= lower[edge, 0] - upper[edge, 0]
        columns = upper[edge, 1] + (rows - upper[edge, 0]) * slopes
        _flip(flips, rows - top, np.ceil(columns), left)
    inside = _between(flips)
    rows, columns = np.nonzero(inside)
    return rows + top, columns + left


def fill_outline(outline: np.ndarray, shape: tuple[int, int]) -> Pixels:
    """Return the pixels whose centres lie inside an outline or on it.

    The pixels are those of `skimage.draw.polygon`, to the last one, in a time
    that is linear in rows crossed and in the area, not in their product.

    Parameters
    ----------
    outline : ndarray of shape (n_vertices, 2)
        Vertices as (row, column); closing is implied.
    shape : tuple (height, width)

    Returns
    -------
    rows, columns : ndarray of shape (n_pixels,)

    Raises
    ------
    ValueError
        If it crosses more rows than any outline drawn by a hand or a program.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.datasets._polygons import fill_outline
    >>> rows, columns = fill_outline(np.array([[0, 0], [0, 1], [1, 1]]), (9, 9))
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1], [0, 1, 1])
    """
    outline = np.asarray(outline, dtype=np.float64)
    low, high = outline.min(axis=0), outline.max(axis=0)
    top, left = np.maximum(low, 0).astype(np.intp)
    bottom, right = np.minimum(np.ceil(high), np.subtract(shape, 1)).astype(np.intp)
    if bottom < top or right < left:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    size = (bottom - top + 1, right - left + 2)
    before = np.roll(outline, 1, axis=0)
    upper, lower = (
        choose(outline[:, 0], before[:, 0]) for choose in (np.minimum, np.maximum)
    )
    inside = np.zeros(size, dtype=bool)[:, :-1]
    # Seen to the right, an edge holds its upper end; seen to the left, its lower
    # one: a pixel on the outline is inside for one of them.
    for step in (0, 1):
        rounded = [
            np.ceil(ends) if step == 0 else np.floor(ends) + 1
            for ends in (upper, lower)
        ]
        first, last = (
            np.clip(each, top, bottom + 1).astype(np.intp) for each in rounded
        )
        flips = np.zeros(size, dtype=np.uint8)
        for edge, rows in _cross_rows(first, last):
            y0, y1 = outline[edge, 0] - rows, before[edge, 0] - rows
            x0, x1 = outline[edge, 1], before[edge, 1]
            nearest = np.rint(x0 - y0 * (x1 - x0) / (y1 - y0))
            # How far the edge lies to the right, in the terms of scikit-image,
            # since pixels that it all but touches hang on the last bit.
            x0, x1 = x0 - nearest, x1 - nearest
            right_of = (x0 * y1 - x1 * y0) / (y1 - y0)
            beyond = right_of > 0 if step == 0 else right_of >= 0
            _flip(flips, rows - top, nearest + beyond, left)
        inside |= _between(flips)
    vertices = np.rint(outline)
    on_pixel = (np.abs(vertices - outline) < 1e-12).all(axis=1)
    on_pixel &= ((vertices >= (top, left)) & (vertices <= (bottom, right))).all(axis=1)
    rows, columns = vertices[on_pixel].astype(np.intp).T
    inside[rows - top, columns - left] = True
    rows, columns = np.nonzero(inside)
    return rows + top, columns + left


def _to_grid(positions: np.ndarray, size: int) -> np.ndarray:
    """Return the first pixel at or after each position, within 0 to `size`."""
    return np.clip(np.ceil(positions), 0, size).astype(np.intp)


def _cross_rows(
    first: np.ndarray, last: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield edges with the rows they cross, from `first` to before `last`.

    Some at a time, so that memory stays bounded and small enough for the cache.
    """
    counts = np.maximum(last - first, 0)
    total = int(counts.sum())
    if total > _MAX_CROSSINGS:
        raise ValueError(
            f"its outline crosses rows of the image {total} times; up to "
            f"{_MAX_CROSSINGS} are drawn: simplify it, or cut it into parts"
        )
    crossing = np.flatnonzero(counts)
    ends = np.cumsum(counts[crossing])
    n_parts = total // _CROSSINGS_AT_ONCE + 1
    cuts = np.searchsorted(ends, np.arange(1, n_parts) * _CROSSINGS_AT_ONCE)
    for part in np.split(crossing, cuts):
        edge = np.repeat(part, counts[part])
        before = np.cumsum(counts[part]) - counts[part]
        offset = np.repeat(first[part] - before, counts[part])
        yield edge, offset + np.arange(len(edge))


def _flip(flips: np.ndarray, rows: np.ndarray, columns: np.ndarray, left: int) -> None:
    """Note that inside and outside change places at these columns (floats)."""
    width = flips.shape[1]
    columns = np.clip(columns - left, 0, width - 1).astype(np.intp)
    # Sums wrap around at 256, which keeps them odd or even.
    np.add.at(flips.reshape(-1), rows * width + columns, np.uint8(1))


def _between(flips: np.ndarray) -> np.ndarray:
    """Return what lies inside, without the column behind the last."""
    flips &= 1
    return np.bitwise_xor.accumulate(flips, axis=1)[:, :-1].astype(bool)


def holds_open_ring(polygons: Iterable[Sequence[np.ndarray]]) -> bool:
    """Tell if some rings enclose nothing, by their vertices, beside others that do."""
    is_open = [_is_open(ring) for rings in polygons for ring in rings]
    return any(is_open) and not all(is_open)


def _is_open(ring: np.ndarray) -> bool:
    """Tell a ring of less than three vertices, whether or not the first comes twice."""
    closed = len(ring) == 3 and (ring[0] == ring[-1]).all()
    return len(ring) < 3 or bool(closed)


def fill_parts(
    polygons: Iterable[Sequence[np.ndarray]], shape: tuple[int, int]
) -> Pixels:
    """Return the pixels of an object in several parts, each a polygon."""
    parts = [fill_polygon(rings, shape) for rings in polygons]
    if not parts:
        return fill_polygon([], shape)
    rows, columns = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(columns)
