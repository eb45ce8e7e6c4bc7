# SPDX-License-Identifier: BSD-3-Clause
"""Slides that are arrays: numpy arrays, memory maps and dask arrays."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from psmlearn.io._decoded import white_of
from psmlearn.io._slide_sources import (
    MAX_TILE_BYTES,
    DamagedTileError,
    Level,
    Piece,
    SlideSource,
)

# Of an array that is looked at to know it again.
_SAMPLE = 256


def check_layout(shape: Sequence[int], dtype: Any, what: str) -> tuple[int, int, int]:
    """Return height, width and channels (1 where there is no axis for them).

    Raises
    ------
    ValueError
        If an array of this shape and dtype is no picture.
    """
    shape = tuple(int(side) for side in shape)
    if len(shape) not in (2, 3) or min(shape, default=0) < 1:
        raise ValueError(
            f"{what} has shape {shape}; expected (height, width) or (height, width, "
            "channels), with at least one pixel."
        )
    n_channels = 1 if len(shape) == 2 else shape[2]
    if n_channels not in (1, 3, 4):
        hint = "channels come last, " if shape[0] in (1, 3, 4) else ""
        raise ValueError(
            f"{what} has shape {shape}; {hint}expected 1 or 3 channels, or 4 with "
            "alpha: choose those that you need."
        )
    if np.dtype(dtype).kind not in "buif" or np.dtype(dtype).itemsize > 8:
        raise ValueError(
            f"{what} has dtype {dtype}; expected integers, floats or bool."
        )
    return shape[0], shape[1], n_channels


def as_tile(array: np.ndarray) -> np.ndarray:
    """Return a box as (h, w, c): without alpha, white where it is transparent."""
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    if array.shape[2] == 4:
        shown = array[..., 3] != 0
        colours = np.ascontiguousarray(array[..., :3])
        if not shown.all():
            colours[~shown] = white_of(colours.dtype)
        array = colours
    return array


def tile_dtype(dtype: Any) -> np.dtype:
    """Return the dtype that `as_tile` gives."""
    dtype = np.dtype(dtype).newbyteorder("=")
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


class ArraySource(SlideSource):
    """A numpy array or memory map of shape (height, width[, channels])."""

    def __init__(self, array: np.ndarray) -> None:
        height, width, n_channels = check_layout(array.shape, array.dtype, "the array")
        super().__init__(
            "array", 3 if n_channels == 4 else n_channels, tile_dtype(array.dtype)
        )
        self._array = array
        self._file = map_of(array)
        if self._file is not None:
            self.name = os.path.basename(self._file["filename"])

        def fetch(row: int, column: int) -> np.ndarray:
            raise NotImplementedError("an array is read without tiles")

        edges = [np.array([0, side]) for side in (height, width)]
        whole = Piece(0, 0, edges[0], edges[1], fetch, cached=False)
        self.levels = [Level(height, width, (whole,))]

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        top, left, bottom, right = box
        part = as_tile(np.asarray(self._array[top:bottom, left:right]))
        return np.array(part, dtype=self.dtype, order="C")

    def fingerprint(self) -> dict[str, Any]:
        if self._file is not None:
            told = os.stat(self._file["filename"])
            return {"size": told.st_size, "mtime_ns": told.st_mtime_ns}
        steps = [max(1, side // _SAMPLE) for side in self._array.shape[:2]]
        sample = np.ascontiguousarray(self._array[:: steps[0], :: steps[1]])
        return {
            "size": int(self._array.nbytes),
            "mtime_ns": None,
            "crc32": zlib.crc32(sample.tobytes()),
        }


def map_of(array: np.ndarray) -> dict[str, Any] | None:
    """Return what opens a memory map again; None for other arrays, parts of maps."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):
        return None
    if array.filename is None:
        return None
    return {
        "filename": os.fspath(array.filename),
        "dtype": array.dtype,
        "offset": array.offset,
        "shape": array.shape,
        "order": "C" if array.flags.c_contiguous else "F",
    }


class DaskSource(SlideSource):
    """A dask array; its chunks are the tiles, each computed in the asking thread."""

    def __init__(self, array: Any) -> None:
        if any(np.isnan(side) for side in array.shape):
            raise ValueError(
                "the dask array has chunks of unknown size; call "
                "array.compute_chunk_sizes() first."
            )
        height, width, n_channels = check_layout(
            array.shape, array.dtype, "the dask array"
        )
        super().__init__(
            "dask array", 3 if n_channels == 4 else n_channels, tile_dtype(array.dtype)
        )
        self._array = array
        edges = [np.cumsum((0, *chunks)) for chunks in array.chunks[:2]]
        largest = np.diff(edges[0]).max() * np.diff(edges[1]).max()
        n_bytes = int(largest) * n_channels * array.dtype.itemsize
        if n_bytes > MAX_TILE_BYTES:
            raise ValueError(
                f"the dask array has chunks of up to {n_bytes / 2**20:.0f} MB, above "
                f"{MAX_TILE_BYTES >> 20}; rechunk it, as with array.rechunk((1024, "
                "1024, -1))."
            )

        def fetch(row: int, column: int) -> np.ndarray:
            return self._fetch(edges, row, column)

        whole = Piece(0, 0, edges[0], edges[1], fetch)
        self.levels = [Level(height, width, (whole,))]

    def _fetch(self, edges: list[np.ndarray], row: int, column: int) -> np.ndarray:
        rows = slice(int(edges[0][row]), int(edges[0][row + 1]))
        columns = slice(int(edges[1][column]), int(edges[1][column + 1]))
        try:
            part = self._array[rows, columns].compute(scheduler="synchronous")
        except MemoryError:
            raise
        except Exception as error:  # whatever the graph runs
            text = " ".join(str(error).split())
            raise DamagedTileError(
                f"computing its chunk failed ({type(error).__name__}: {text[:120]})"
            ) from error
        return np.array(as_tile(np.asarray(part)), dtype=self.dtype, order="C")

    def fingerprint(self) -> dict[str, Any]:
        return {
            "size": int(self._array.nbytes),
            "mtime_ns": None,
            "graph": self._array.name,
        }
