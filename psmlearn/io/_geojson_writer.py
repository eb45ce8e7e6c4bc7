# SPDX-License-Identifier: BSD-3-Clause
"""Objects as GeoJSON that QuPath imports, written block by block."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from psmlearn._images._outlines import Outline, trace_outlines
from psmlearn._parameters import is_number, shown
from psmlearn.io._masks import check_mask
from psmlearn.io._objects import (
    ClassColors,
    ClassNames,
    object_classes,
    open_text,
    table_values,
)
from psmlearn.io._paths import as_path, atomic_path, names_target
from psmlearn.io._write import check_suffix

__all__ = ["GeoJSONWriter", "join_geojson"]

_OBJECT_TYPES = ("annotation", "cell", "detection", "tile")
_HEAD, _TAIL = '{"type": "FeatureCollection", "features": [', "\n]}\n"
# Ids of the same objects are the same, so that a file can be made again.
_SPACE = uuid.UUID("5d0a6f0e-52c5-4b0c-9d2b-6f1b0e1f3c52")
# What a table of nuclei calls its columns, and what QuPath would.
_MEASUREMENTS = {
    "area_um2": "Nucleus: Area µm^2",
    "equivalent_diameter_um": "Nucleus: Equivalent diameter µm",
    "eccentricity": "Nucleus: Eccentricity",
    "perimeter_um": "Nucleus: Perimeter µm",
    "solidity": "Nucleus: Solidity",
    "major_axis_um": "Nucleus: Max diameter µm",
    "minor_axis_um": "Nucleus: Min diameter µm",
    "mean_haematoxylin_od": "Nucleus: Hematoxylin OD mean",
    "mean_dab_od": "Nucleus: DAB OD mean",
    "mean_eosin_od": "Nucleus: Eosin OD mean",
    "confidence": "Detection probability",
}
_NO_MEASUREMENTS = {
    *("label", "class", "centroid_row", "centroid_column"),
    *("bbox_min_row", "bbox_min_column", "bbox_max_row", "bbox_max_column"),
}


class GeoJSONWriter:
    """Write objects as GeoJSON for QuPath, block by block, atomically.

    A context manager: the file is there when the block of ``with`` ends, and nothing
    is if it fails. Each object is written as it comes, and none is kept, so that memory
    does not grow with their number.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .geojson or .json, or with .gz after that to be packed.
    object_type : {"annotation", "cell", "detection", "tile"}, default="detection"
        What QuPath is to make of them.
    classes : mapping of int to str or sequence of str, default=None
        Names of the classes; a sequence is numbered from 1. None writes "Positive"
        and "Negative" for 1 and 2, and "Class 3" and so on for others.
    colors : mapping of str to (red, green, blue), default=None
        Of classes by name, from 0 to 255; those of QuPath where there are any.
    downsample : float, default=1.0
        Full-resolution pixels to one of the labels.

    Attributes
    ----------
    n_objects : int
        Objects written so far.

    See Also
    --------
    write_geojson : Of one label image.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import GeoJSONWriter
    >>> block = np.array([[0, 1, 1], [2, 0, 1]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.geojson")
    ...     with GeoJSONWriter(path) as writer:
    ...         writer.add(block, ids=[1])
    ...         writer.add(block, offset=(0, 100), classes={2: 1})
    ...     with open(path, encoding="utf-8") as file:
    ...         found = json.load(file)["features"]
    >>> [nucleus["geometry"]["coordinates"][0][0] for nucleus in found]
    [[3, 0], [103, 0], [101, 1]]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        object_type: str = "detection",
        classes: Mapping[int, str] | Sequence[str] | None = None,
        colors: Mapping[str, Sequence[int]] | None = None,
        downsample: float = 1.0,
    ) -> None:
        plain = as_path(path)
        inner = plain[:-3] if plain.lower().endswith(".gz") else plain
        check_suffix(inner, (".geojson", ".json"))
        if object_type not in _OBJECT_TYPES:
            raise ValueError(
                f"object_type={object_type!r}; expected one of "
                f"{', '.join(_OBJECT_TYPES)}."
            )
        _Place((0, 0), downsample)
        self._path, self._packed = path, inner != plain
        self._object_type, self._downsample = object_type, downsample
        self._names, self._shades = ClassNames(classes), ClassColors(colors)
        self._stack: ExitStack | None = None
        self._file: TextIO | None = None
        self.n_objects = 0

    def __enter__(self) -> GeoJSONWriter:
        """Open a temporary file beside that to be written."""
        if self._stack is not None:
            raise RuntimeError(f"{as_path(self._path)!r} is being written already.")
        with ExitStack() as stack:
            part = stack.enter_context(atomic_path(self._path))
            file = stack.enter_context(open_text(part, packed=self._packed))
            file.write(_HEAD)
            self._stack = stack.pop_all()
        self._file, self.n_objects = file, 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file and give it its name; remove it after an error."""
        stack, file = self._stack, self._file
        self._stack = self._file = None
        if stack is None or file is None:
            return
        if kind is None:
            try:
                file.write(_TAIL)
            except BaseException as failed:
                stack.__exit__(type(failed), failed, failed.__traceback__)
                raise
        stack.__exit__(kind, error, trace)

    def add(
        self,
        labels: Any,
        *,
        ids: Sequence[int] | np.ndarray | None = None,
        offset: tuple[float, float] = (0, 0),
        classes: Mapping[int, int] | None = None,
        measurements: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the objects of one block.

        Parameters
        ----------
        labels : ndarray of shape (height, width) or (height, width, 2), or path
            Ids; a second plane holds classes.
        ids : sequence of int, default=None
            The objects to write, such as those that do not belong to another block;
            None writes all.
        offset : (float, float), default=(0, 0)
            Row and column of the first pixel of `labels` in the whole slide, in its
            full-resolution pixels.
        classes : mapping of int to int, default=None
            Class of each id, 0 for none; in place of the second plane.
        measurements : mapping of str to array-like of shape (n_objects,), default=None
            By name, such as :func:`psmlearn.measure.nuclei_table` gives them, with the
            ids in "label"; rows of ids that are not written are passed over.

        Raises
        ------
        RuntimeError
            If no block of ``with`` is open.
        TypeError, ValueError
            If what is given is not what is expected; nothing of the block is written.
        """
        if self._file is None:
            raise RuntimeError(
                f"{as_path(self._path)!r} is not open; use the writer within `with "
                "GeoJSONWriter(path) as writer:`."
            )
        mask = check_mask(labels, name="labels")
        plane = mask[..., 0] if mask.ndim == 3 else mask
        present = np.unique(plane[plane > 0])
        place = _Place(offset, self._downsample)
        measured = {
            _MEASUREMENTS.get(name, name): values
            for name, values in table_values(measurements, present).items()
            if name not in _NO_MEASUREMENTS
        }
        kinds = object_classes(mask) if classes is None else _own_classes(classes)
        if ids is not None:
            plane = _chosen(plane, ids, present)
        with names_target(self._path):
            for outline in trace_outlines(plane):
                feature = _feature(outline, self._object_type, place)
                kind = kinds.get(outline.id, 0)
                self._write(self._file, feature, outline.id, kind, measured)

    def _write(
        self,
        file: TextIO,
        feature: dict[str, Any],
        own: int,
        kind: int,
        measured: Mapping[str, Mapping[int, float]],
    ) -> None:
        """Write one object."""
        if kind > 0:
            name = self._names.of(kind)
            feature["properties"]["classification"] = {
                "name": name,
                "color": self._shades.of(name),
            }
        values = {key: column[own] for key, column in measured.items() if own in column}
        if values:
            feature["properties"]["measurements"] = values
        file.write(",\n" if self.n_objects else "\n")
        file.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
        self.n_objects += 1


def join_geojson(
    path: str | os.PathLike[str], parts: Iterable[str | os.PathLike[str]]
) -> None:
    """Write one file of all objects of files that a `GeoJSONWriter` wrote, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .geojson or .json, or with .gz after that to be packed.
    parts : iterable of str or os.PathLike
        Not packed; each is held in memory for a while.
    """
    packed = as_path(path).lower().endswith(".gz")
    with (
        names_target(path),
        atomic_path(path) as part,
        open_text(part, packed=packed) as file,
    ):
        file.write(_HEAD)
        follows = ""
        for each in parts:
            text = Path(each).read_text(encoding="utf-8")
            objects = text.removeprefix(_HEAD).removesuffix(_TAIL)
            if objects:
                file.write(follows + objects)
                follows = ","
        file.write(_TAIL)


def _own_classes(classes: Mapping[int, int]) -> dict[int, int]:
    if not isinstance(classes, Mapping) or not all(
        is_number(value, whole=True) for pair in classes.items() for value in pair
    ):
        raise TypeError(
            f"classes is {shown(classes)}; expected a dict of whole numbers, the class "
            "of each id."
        )
    return {int(own): int(kind) for own, kind in classes.items()}


def _chosen(plane: np.ndarray, ids: Any, present: np.ndarray) -> np.ndarray:
    """Return a plane of some of its ids."""
    wanted = np.unique(np.asarray(ids))
    if wanted.size and wanted.dtype.kind not in "iu":
        raise TypeError(f"ids is {shown(ids)}; expected whole numbers.")
    unknown = np.setdiff1d(wanted, present)
    if unknown.size:
        raise ValueError(
            f"ids holds {unknown.size} that are no object of these labels, such as "
            f"{unknown[0]}; give those of this block."
        )
    return np.where(np.isin(plane, wanted), plane, 0)


class _Place:
    """Where pixels of the labels lie in the whole image."""

    def __init__(self, offset: tuple[float, float], downsample: float) -> None:
        values = (*offset, downsample)
        if len(values) != 3 or not all(math.isfinite(value) for value in values):
            raise ValueError(
                f"offset={offset!r}, downsample={downsample!r}: a row and a column, "
                "and a factor above 0, are expected."
            )
        if downsample <= 0:
            raise ValueError(
                f"downsample={downsample!r}: a factor above 0 is expected."
            )
        self.offset, self.downsample = offset, downsample

    def ring(self, corners: np.ndarray) -> list[list[float]]:
        """Return x and y of a ring, closed."""
        points = corners * self.downsample + np.asarray(self.offset)
        whole = np.rint(points)
        if (points == whole).all():
            points = whole.astype(np.int64)
        listed = points[:, ::-1].tolist()
        return [*listed, listed[0]]


def _feature(outline: Outline, object_type: str, place: _Place) -> dict[str, Any]:
    # RFC 7946 has outer rings counterclockwise with y upwards: clockwise on screen.
    polygons = [[place.ring(ring) for ring in polygon] for polygon in outline.polygons]
    geometry = (
        {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) == 1
        else {"type": "MultiPolygon", "coordinates": polygons}
    )
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_SPACE, f"{outline.id} {polygons[0][0][0]}")),
        "geometry": geometry,
        "properties": {"objectType": object_type, "name": str(outline.id)},
    }
