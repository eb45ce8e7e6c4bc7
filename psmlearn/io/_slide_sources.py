# SPDX-License-Identifier: BSD-3-Clause
"""What slides are read from: levels made of pieces, each a grid of tiles."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from psmlearn.io._decoded import white_of
from psmlearn.io._slide_cache import TILES

MAX_TILE_BYTES = 1 << 28
"""What a tile or strip may take, decoded: it is decoded whole for each box."""

_MAX_PROBLEMS = 200
_numbers = itertools.count()

Problem = tuple[int, int, int]


class DamagedTileError(Exception):
    """A tile or strip that cannot be shown; the message says why."""


class MissingTileError(DamagedTileError):
    """A tile that is not in the file, as blank ones may not be."""


@dataclass(frozen=True)
class Piece:
    """A part of a level that is stored as a grid of tiles.

    Attributes
    ----------
    top, left : int
        Its place in the level.
    row_edges, column_edges : ndarray of int64
        Where tiles begin and end, from 0 to height and width of the piece.
    fetch : callable
        ``fetch(row, column)`` gives a tile (h, w, c), of its true size, or raises
        `DamagedTileError`.
    cached : bool
        Whether tiles are worth being kept.
    """

    top: int
    left: int
    row_edges: np.ndarray
    column_edges: np.ndarray
    fetch: Callable[[int, int], np.ndarray]
    cached: bool = True

    @property
    def height(self) -> int:
        return int(self.row_edges[-1])

    @property
    def width(self) -> int:
        return int(self.column_edges[-1])


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: pieces on white."""

    height: int
    width: int
    pieces: tuple[Piece, ...]


def grid_edges(size: int, step: int) -> np.ndarray:
    """Return where tiles of `step` pixels begin and end along `size` pixels."""
    return np.append(np.arange(0, size, step, dtype=np.int64), size)


class SlideSource:
    """Base of what slides are read from.

    Attributes
    ----------
    name : str
    path : str or None
    levels : list of Level
        The finest first.
    n_channels : {1, 3}
    dtype : numpy.dtype
    pixel_size : float or None
        Micrometres of a pixel of the finest level, as the source tells.
    associated : tuple of str
        Pictures beside the levels.
    """

    path: str | None = None
    pixel_size: float | None = None
    associated: tuple[str, ...] = ()

    def __init__(self, name: str, n_channels: int, dtype: Any) -> None:
        self.name = name
        self.n_channels = n_channels
        self.dtype = np.dtype(dtype)
        self.levels: list[Level] = []
        self.notes = Notes()
        self._number = next(_numbers)

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        """Read a box (top, left, bottom, right) of a level; no tile stops it."""
        top, left, bottom, right = box
        out = np.full(
            (bottom - top, right - left, self.n_channels), self.white, self.dtype
        )
        for index, piece in enumerate(self.levels[level].pieces):
            low, high = piece.top, piece.top + piece.height
            first, last = piece.left, piece.left + piece.width
            part = max(top, low), max(left, first), min(bottom, high), min(right, last)
            if part[0] < part[2] and part[1] < part[3]:
                self._paste(out, (top, left), level, index, part)
        return out

    @property
    def white(self) -> float:
        """The value of ground: the largest of integers, 1 of floats."""
        if self.dtype.kind == "i":
            return float(np.iinfo(self.dtype).max)
        return white_of(self.dtype)

    def _paste(
        self,
        out: np.ndarray,
        origin: tuple[int, int],
        level: int,
        index: int,
        part: tuple[int, int, int, int],
    ) -> None:
        """Paste the tiles of a piece that a part of a level touches."""
        piece = self.levels[level].pieces[index]
        top, bottom = part[0] - piece.top, part[2] - piece.top
        left, right = part[1] - piece.left, part[3] - piece.left
        down = piece.top - origin[0]
        across = piece.left - origin[1]
        for row in range(*_touched(piece.row_edges, top, bottom)):
            low = max(top, int(piece.row_edges[row]))
            high = min(bottom, int(piece.row_edges[row + 1]))
            for column in range(*_touched(piece.column_edges, left, right)):
                first = max(left, int(piece.column_edges[column]))
                last = min(right, int(piece.column_edges[column + 1]))
                tile = self._tile(level, index, row, column)
                if tile.size == 0:
                    continue
                y, x = int(piece.row_edges[row]), int(piece.column_edges[column])
                out[low + down : high + down, first + across : last + across] = tile[
                    low - y : high - y, first - x : last - x
                ]

    def _tile(self, level: int, index: int, row: int, column: int) -> np.ndarray:
        """Return a tile, empty where it is damaged or missing."""
        piece = self.levels[level].pieces[index]

        def make() -> np.ndarray:
            try:
                return piece.fetch(row, column)
            except DamagedTileError as error:
                place = (
                    piece.top + int(piece.row_edges[row]),
                    piece.left + int(piece.column_edges[column]),
                )
                self.notes.add((level, *place), str(error))
                return np.empty((0, 0, self.n_channels), self.dtype)

        if not piece.cached:
            return make()
        return TILES.get((self._number, level, index, row, column), make)

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells a source that has changed."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files and tiles."""
        TILES.drop(self._number)


def _touched(edges: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    """Return the range of tiles that pixels start to stop - 1 lie in."""
    first = int(np.searchsorted(edges, start, side="right")) - 1
    return first, int(np.searchsorted(edges, stop, side="left"))


@dataclass
class Notes:
    """What was found wrong in tiles, each told once."""

    told: dict[Problem | str, str] = field(default_factory=dict)
    n_more: int = 0
    _seen: set[Problem | str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, place: Problem | str, why: str) -> None:
        """Note a tile by level, top and left; or anything else by its text."""
        with self._lock:
            if place in self._seen:
                return
            self._seen.add(place)
            if len(self.told) >= _MAX_PROBLEMS:
                self.n_more += 1
                return
            if isinstance(place, str):
                self.told[place] = why
                return
            level, top, left = place
            self.told[place] = (
                f"level {level}, tile at row {top}, column {left}: {why}; shown white"
            )

    def listed(self) -> list[str]:
        """Return all notes, and how many there are beyond those that are kept."""
        with self._lock:
            lines = list(self.told.values())
            if self.n_more:
                lines.append(f"and {self.n_more} more tiles, shown white")
            return lines


def fitting_levels(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Return which shapes are reductions of the first, finest first.

    A picture of other proportions, such as a label, is no level.
    """
    height, width = shapes[0]
    kept = [0]
    order = sorted(range(1, len(shapes)), key=lambda i: -shapes[i][0] * shapes[i][1])
    for index in order:
        h, w = shapes[index]
        last = shapes[kept[-1]]
        if h < 1 or w < 1 or h > last[0] or w > last[1] or (h, w) == last:
            continue
        factor = downsample((height, width), (h, w))
        slack = 2.0 + 0.02 * max(h, w)
        if abs(height / factor - h) <= slack and abs(width / factor - w) <= slack:
            kept.append(index)
    return kept


def downsample(full: tuple[int, int], reduced: tuple[int, int]) -> float:
    """Return how many pixels become one, by the longer side, the more exact one."""
    axis = 0 if full[0] >= full[1] else 1
    return full[axis] / reduced[axis]
