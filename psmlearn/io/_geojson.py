# SPDX-License-Identifier: BSD-3-Clause
"""Objects as GeoJSON that QuPath imports."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

from psmlearn._images._outlines import Outline, trace_outlines
from psmlearn.io._masks import check_mask
from psmlearn.io._paths import as_path, atomic_path
from psmlearn.io._write import check_suffix, names_its_file

__all__ = ["write_geojson"]

_OBJECT_TYPES = ("annotation", "cell", "detection", "tile")
# Of classes without a colour: QuPath's own for the names that it knows, else these.
_KNOWN_COLORS = {"positive": (250, 62, 62), "negative": (112, 112, 225)}
_COLORS = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (204, 121, 167), (213, 94, 0))
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
_NO_MEASUREMENTS = {"label", "class", "centroid_row", "centroid_column"}


@names_its_file
def write_geojson(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    table: Mapping[str, Any] | None = None,
    object_type: str = "detection",
    classes: Mapping[int, str] | Sequence[str] | None = None,
    colors: Mapping[str, Sequence[int]] | None = None,
    offset: tuple[float, float] = (0, 0),
    downsample: float = 1.0,
) -> None:
    """Write the objects of a label image as GeoJSON for QuPath, atomically.

    Outlines run along the edges of pixels, so that the very pixels come back from
    :func:`psmlearn.datasets.load_geojson`. Objects are written one by one.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .geojson or .json, or with .gz after that to be packed. In QuPath, drag
        the file onto the image.
    labels : ndarray of shape (height, width) or (height, width, 2), or path
        Ids; a second plane holds classes.
    table : mapping of str to array-like of shape (n_objects,), default=None
        Measurements by name, such as :func:`psmlearn.measure.nuclei_table` gives
        them, with the ids in "label". Names of that function are written as QuPath's
        (``Nucleus: Area µm^2``), others as they are; what is not finite is left out.
    object_type : {"annotation", "cell", "detection", "tile"}, default="detection"
        Thousands of detections are shown fast; annotations can be edited.
    classes : mapping of int to str or sequence of str, default=None
        Names of the classes; a sequence is numbered from 1. None writes "Positive"
        and "Negative" for 1 and 2, and "Class 3" and so on for others.
    colors : mapping of str to (red, green, blue), default=None
        Of classes by name, from 0 to 255; those of QuPath where there are any.
    offset : (float, float), default=(0, 0)
        Row and column of the first pixel in the whole slide, in its full-resolution
        pixels, where `labels` are those of a crop.
    downsample : float, default=1.0
        Full-resolution pixels to one of `labels`.

    Raises
    ------
    TypeError, ValueError
        If the labels, the table or a parameter are not what is expected.
    OSError
        If the file cannot be written.

    References
    ----------
    P. Bankhead et al., "QuPath: Open source software for digital pathology image
    analysis", Scientific Reports 7, 2017.
    H. Butler et al., "The GeoJSON Format", RFC 7946, 2016.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import numpy as np
    >>> from psmlearn.io import write_geojson
    >>> labels = np.array([[0, 1, 1], [0, 1, 0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.geojson")
    ...     write_geojson(path, labels, table={"label": [1], "area_um2": [0.19]})
    ...     with open(path, encoding="utf-8") as file:
    ...         nucleus = json.load(file)["features"][0]
    >>> nucleus["geometry"]["coordinates"]
    [[[3, 0], [3, 1], [2, 1], [2, 2], [1, 2], [1, 0], [3, 0]]]
    >>> nucleus["properties"]["measurements"]
    {'Nucleus: Area µm^2': 0.19}
    """
    plain = as_path(path)
    inner = plain[:-3] if plain.lower().endswith(".gz") else plain
    check_suffix(inner, (".geojson", ".json"))
    if object_type not in _OBJECT_TYPES:
        raise ValueError(
            f"object_type={object_type!r}; expected one of {', '.join(_OBJECT_TYPES)}."
        )
    mask = check_mask(labels, name="labels")
    ids = mask[..., 0] if mask.ndim == 3 else mask
    present = np.unique(ids[ids > 0])
    place = _Place(offset, downsample)
    measured = _measurements(table, present)
    named = _class_names(mask, classes)
    shades = _Colors(colors)
    with atomic_path(path) as part, _open_text(part, packed=inner != plain) as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, outline in enumerate(trace_outlines(ids)):
            feature = _feature(outline, object_type, place)
            name = named.get(outline.id)
            if name is not None:
                feature["properties"]["classification"] = {
                    "name": name,
                    "color": shades.of(name),
                }
            values = {
                key: column[outline.id]
                for key, column in measured.items()
                if outline.id in column
            }
            if values:
                feature["properties"]["measurements"] = values
            file.write("\n" if number == 0 else ",\n")
            json.dump(feature, file, ensure_ascii=False, allow_nan=False)
        file.write("\n]}\n")


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


class _Colors:
    """Colours of classes, told by their names."""

    def __init__(self, given: Mapping[str, Sequence[int]] | None) -> None:
        self.known: dict[str, list[int]] = {}
        for name, color in (given or {}).items():
            values = [int(value) for value in color]
            if len(values) != 3 or not all(0 <= value <= 255 for value in values):
                raise ValueError(
                    f"colors[{name!r}] is {color!r}: red, green and blue from 0 to 255 "
                    "are expected."
                )
            self.known[name] = values

    def of(self, name: str) -> list[int]:
        if name not in self.known:
            known = _KNOWN_COLORS.get(name.lower())
            self.known[name] = list(known or _COLORS[len(self.known) % len(_COLORS)])
        return self.known[name]


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


def _measurements(
    table: Mapping[str, Any] | None, present: np.ndarray
) -> dict[str, dict[int, float]]:
    """Return, by the name that is written, the values of the objects that have one."""
    if table is None:
        return {}
    if "label" not in table:
        raise ValueError(
            f"table has the columns {', '.join(map(str, table))}; expected the ids of "
            "the objects in 'label', too."
        )
    ids = np.asarray(table["label"])
    unknown = np.setdiff1d(ids, present)
    if unknown.size:
        raise ValueError(
            f"table has {unknown.size} label(s) that are no object here, such as "
            f"{unknown[0]}; give the table of these labels."
        )
    found = {}
    for name, column in table.items():
        values = np.asarray(column)
        if name in _NO_MEASUREMENTS or values.dtype.kind not in "biuf":
            continue
        if values.shape != ids.shape:
            raise ValueError(
                f"table[{name!r}] has shape {values.shape}; expected {ids.shape}, a "
                "value for each label."
            )
        finite = np.isfinite(values)
        found[_MEASUREMENTS.get(name, name)] = dict(
            zip(ids[finite].tolist(), values[finite].tolist(), strict=True)
        )
    return found


def _class_names(
    mask: np.ndarray, classes: Mapping[int, str] | Sequence[str] | None
) -> dict[int, str]:
    """Return the name of each object's class, where it has one."""
    if mask.ndim == 2:
        return {}
    if classes is None:
        names: dict[int, str] = {1: "Positive", 2: "Negative"}
    elif isinstance(classes, Mapping):
        names = {int(number): str(name) for number, name in classes.items()}
    else:
        names = {number: str(name) for number, name in enumerate(classes, 1)}
    inside = mask[..., 0] > 0
    ids, index = np.unique(mask[inside, 0], return_inverse=True)
    kinds, kind = np.unique(np.maximum(mask[inside, 1], 0), return_inverse=True)
    if not ids.size:
        return {}
    votes = np.bincount(index * kinds.size + kind, minlength=ids.size * kinds.size)
    chosen = kinds[votes.reshape(ids.size, kinds.size).argmax(axis=1)]
    return {
        int(own): names.get(int(number), f"Class {number}")
        for own, number in zip(ids, chosen, strict=True)
        if number > 0
    }


@contextmanager
def _open_text(path: str, *, packed: bool) -> Iterator[TextIO]:
    """Open a file for UTF-8; packed without a time, so that it repeats."""
    if not packed:
        with open(path, "w", encoding="utf-8", newline="\n") as plain:
            yield plain
        return
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as squeezed,
        io.TextIOWrapper(squeezed, encoding="utf-8", newline="\n") as text,
    ):
        yield text
