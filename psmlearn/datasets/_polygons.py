# SPDX-License-Identifier: BSD-3-Clause
"""Outlines in JSON files, read safely."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Sequence
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


def holds_open_ring(polygons: Iterable[Sequence[np.ndarray]]) -> bool:
    """Tell if some rings enclose nothing, by their vertices, beside others that do."""
    is_open = [_is_open(ring) for rings in polygons for ring in rings]
    return any(is_open) and not all(is_open)


def _is_open(ring: np.ndarray) -> bool:
    """Tell a ring of less than three vertices, whether or not the first comes twice."""
    closed = len(ring) == 3 and (ring[0] == ring[-1]).all()
    return len(ring) < 3 or bool(closed)
