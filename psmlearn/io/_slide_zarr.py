# SPDX-License-Identifier: BSD-3-Clause
"""Slides in zarr: OME-Zarr (0.4 in zarr v2, 0.5 in zarr v3) and plain arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from psmlearn._parameters import LARGEST_PIXEL, SMALLEST_PIXEL
from psmlearn.io._paths import ZARR_MARKS
from psmlearn.io._slide_arrays import as_tile, check_layout, tile_dtype
from psmlearn.io._slide_sources import (
    MAX_TILE_BYTES,
    DamagedTileError,
    Level,
    MissingTileError,
    Piece,
    SlideSource,
    fitting_levels,
    grid_edges,
)

_MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}


def is_zarr_folder(path: str) -> bool:
    """Tell a folder that holds a zarr group or array."""
    return any(os.path.isfile(os.path.join(path, mark)) for mark in ZARR_MARKS)


class ZarrSource(SlideSource):
    """A folder, group or array of zarr.

    Parameters
    ----------
    source : str, zarr.Group or zarr.Array

    Raises
    ------
    ValueError
        If it holds no picture; the path is named.
    ImportError
        If zarr is not installed, or is too old for the format.
    """

    def __init__(self, source: Any) -> None:
        path = source if isinstance(source, str) else None
        node = _open(path) if path is not None else source
        what = repr(path) if path is not None else f"the zarr {type(node).__name__}"
        self._what, self._root = what, node
        try:
            arrays, axes, scales = _find_levels(node, what)
        except KeyError as error:
            raise ValueError(
                f"{what} lacks what its metadata tells of: {error}. Copy it again, "
                "with all its folders."
            ) from error
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"{what} is a broken zarr: {error}.") from error
        views = [_View(array, axes, what) for array in arrays]
        first = views[0]
        name = os.path.basename(os.path.normpath(path)) if path else "zarr"
        super().__init__(name, first.n_colours, tile_dtype(first.array.dtype))
        alike = [
            view
            for view in views
            if view.n_colours == first.n_colours
            and view.array.dtype == first.array.dtype
        ]
        kept = fitting_levels([(view.height, view.width) for view in alike])
        for index in kept:
            self.levels.append(self._level(alike[index]))
        self.pixel_size = _pixel_size(scales, axes)
        self.path = path

    def _level(self, view: _View) -> Level:
        edges = grid_edges(view.height, view.tall), grid_edges(view.width, view.wide)
        piece = Piece(0, 0, *edges, view.fetch)
        return Level(view.height, view.width, (piece,))

    def fingerprint(self) -> dict[str, Any]:
        if self.path is None:
            return {"size": None, "mtime_ns": None}
        newest, size = 0, 0
        # Folders of levels change when a chunk is written for the first time.
        for folder, _, names in _walk(self.path, 2):
            newest = max(newest, os.stat(folder).st_mtime_ns)
            for name in names:
                told = os.stat(os.path.join(folder, name))
                newest, size = max(newest, told.st_mtime_ns), size + told.st_size
        return {"size": size, "mtime_ns": newest}


class _View:
    """One array of zarr, with its axes put in order."""

    def __init__(self, array: Any, axes: Sequence[str], what: str) -> None:
        self.array = array
        shape = tuple(int(side) for side in array.shape)
        if len(axes) != len(shape):
            raise ValueError(
                f"{what} tells of axes {list(axes)}, and its array has shape {shape}."
            )
        self._axes = {name: place for place, name in enumerate(axes)}
        others = [n for a, n in zip(axes, shape, strict=True) if a not in "cyx"]
        if not {"y", "x"} <= set(axes) or any(side != 1 for side in others):
            raise ValueError(
                f"{what} has axes {list(axes)} and shape {shape}; a slide is one "
                "plane: save the one you need, with axes c, y and x."
            )
        self.height, self.width = shape[self._axes["y"]], shape[self._axes["x"]]
        n_channels = shape[self._axes["c"]] if "c" in axes else 1
        check_layout((self.height, self.width, n_channels), array.dtype, what)
        self.n_colours = 3 if n_channels == 4 else n_channels
        chunks = [int(side) for side in array.chunks]
        self.tall = min(chunks[self._axes["y"]], self.height)
        self.wide = min(chunks[self._axes["x"]], self.width)
        n_bytes = int(np.prod(chunks, dtype=float)) * array.dtype.itemsize
        if n_bytes > MAX_TILE_BYTES:
            raise ValueError(
                f"{what} has chunks of {n_bytes / 2**20:.0f} MB, above "
                f"{MAX_TILE_BYTES >> 20}; write it in chunks of 1024 x 1024 pixels."
            )
        # A chunk of colours that was never written is ground; of one channel (labels,
        # fluorescence) it is 0, as zarr has it.
        self._folder = _folder_of(array) if self.n_colours == 3 else None

    def fetch(self, row: int, column: int) -> np.ndarray:
        """Return a tile (h, w, c), or raise `DamagedTileError`."""
        if self._is_missing(row, column):
            raise MissingTileError("its chunk was never written")
        where: list[Any] = [0] * len(self._axes)
        top, left = row * self.tall, column * self.wide
        where[self._axes["y"]] = slice(top, min(top + self.tall, self.height))
        where[self._axes["x"]] = slice(left, min(left + self.wide, self.width))
        order = [name for name in self._axes if name in "cyx"]
        if "c" in self._axes:
            where[self._axes["c"]] = slice(None)
        try:
            part = np.asarray(self.array[tuple(where)])
        except (MemoryError, OSError):
            raise  # a disk or a share that fails is no damaged chunk
        except Exception as error:  # codecs raise nearly anything
            text = " ".join(str(error).split())
            raise DamagedTileError(f"its chunk is damaged ({text[:120]})") from error
        wanted = [order.index(name) for name in ("y", "x", "c") if name in order]
        tile = as_tile(np.transpose(part, wanted))
        return np.array(tile, order="C")

    def _is_missing(self, row: int, column: int) -> bool:
        """Tell a chunk that is not stored, and would come black."""
        if self._folder is None:
            return False
        place = [0] * len(self._axes)
        place[self._axes["y"]], place[self._axes["x"]] = row, column
        key = _chunk_key(self.array, place)
        return key is not None and not os.path.exists(os.path.join(self._folder, key))


def _open(path: str) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"{path!r} is read with zarr: pip install psmlearn[wsi]"
        ) from error
    if not is_zarr_folder(path):
        raise ValueError(
            f"{path!r} is a folder without {', '.join(ZARR_MARKS)}: it is no zarr, or "
            "not its root folder."
        )
    old = int(zarr.__version__.split(".")[0]) < 3
    if old and os.path.isfile(os.path.join(path, "zarr.json")):
        raise ImportError(
            f"{path!r} is in zarr format 3, and zarr {zarr.__version__} reads 2: "
            "pip install 'zarr>=3'"
        )
    try:
        return zarr.open(path, mode="r")
    except MemoryError:
        raise
    except Exception as error:  # on broken metadata zarr raises nearly anything
        raise ValueError(f"{path!r} is a broken zarr: {error}.") from error


def _find_levels(node: Any, what: str) -> tuple[list, list[str], list]:
    """Return arrays, their axes, and the (scale, unit) of each axis of the first."""
    if hasattr(node, "shape"):
        return [node], _guess_axes(node.shape), []
    told = _multiscale(node)
    if told is None and "0" in node and not hasattr(node["0"], "shape"):
        node = node["0"]  # as bioformats2raw lays series out
        told = _multiscale(node)
    if told is None:
        names = sorted(node.array_keys())
        if len(names) == 1:
            return [node[names[0]]], _guess_axes(node[names[0]].shape), []
        raise ValueError(
            f"{what} is a zarr group without OME metadata (multiscales) and with "
            f"{len(names)} arrays; give the path of the array that you need."
        )
    datasets = told.get("datasets") or []
    arrays = [node[str(one["path"])] for one in datasets]
    if not arrays:
        raise ValueError(f"{what} tells of no level (multiscales without datasets).")
    axes, units = [], []
    for axis in told.get("axes") or _guess_axes(arrays[0].shape):
        named = axis if isinstance(axis, dict) else {"name": axis}
        axes.append(str(named.get("name")).lower())
        units.append(named.get("unit"))
    # Those of all levels come after those of each.
    transforms = [datasets[0], told]
    return arrays, axes, [_scale(each, len(axes)) for each in transforms] + [units]


def _multiscale(node: Any) -> dict | None:
    """Return the first pyramid that the metadata of a group tells of."""
    attributes = dict(node.attrs)
    told = attributes.get("ome", attributes)
    listed = told.get("multiscales") if isinstance(told, dict) else None
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return listed[0]
    return None


def _scale(told: dict, n_axes: int) -> list[float]:
    for each in told.get("coordinateTransformations") or []:
        if each.get("type") == "scale" and len(each.get("scale", [])) == n_axes:
            return [float(value) for value in each["scale"]]
    return [1.0] * n_axes


def _pixel_size(told: list, axes: list[str]) -> float | None:
    """Return micrometres per pixel, where the unit is told and pixels are square."""
    if not told:
        return None
    one, every, units = told
    sizes = []
    for axis in "yx":
        place = axes.index(axis)
        unit = _MICROMETRES.get(units[place] or "")
        if unit is None:
            return None
        sizes.append(one[place] * every[place] * unit)
    if not all(SMALLEST_PIXEL <= size <= LARGEST_PIXEL for size in sizes):
        return None
    return sum(sizes) / 2 if abs(sizes[0] - sizes[1]) <= 0.01 * max(sizes) else None


def _guess_axes(shape: Sequence[int]) -> list[str]:
    """Name the axes of an array of which nothing is told."""
    if len(shape) == 3:
        first = shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4)
        return ["c", "y", "x"] if first else ["y", "x", "c"]
    if len(shape) < 2:
        return ["x"] * len(shape)
    return ["t", "c", "z", "y", "x"][-len(shape) :] if len(shape) != 4 else list("tcyx")


def _folder_of(array: Any) -> str | None:
    """Return the folder of an array that lies in one, chunk by chunk."""
    if getattr(array, "shards", None) is not None:
        return None
    if not np.any(np.asarray(array.fill_value or 0) == 0):
        return None
    store = getattr(array, "store", None)
    root = getattr(store, "root", None) or getattr(store, "path", None)
    # Of archives and databases it is a file; others are not on this disk.
    if root is None or not os.path.isdir(str(root)):
        return None
    folder = os.path.join(str(root), str(array.path).strip("/"))
    return folder if os.path.isdir(folder) else None


def _chunk_key(array: Any, place: list[int]) -> str | None:
    """Return the name of a chunk's file within the folder of its array."""
    with suppress(AttributeError, TypeError):
        return array.metadata.encode_chunk_key(tuple(place))  # zarr 3
    with suppress(AttributeError, TypeError):
        return str(array._chunk_key(tuple(place))).removeprefix(f"{array.path}/")
    return None


def _walk(folder: str, depth: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder, no deeper than told."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir() else names).append(entry.name)
    yield folder, folders, names
    if depth > 1:
        for name in sorted(folders):
            yield from _walk(os.path.join(folder, name), depth - 1)
