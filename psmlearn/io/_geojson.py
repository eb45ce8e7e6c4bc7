# SPDX-License-Identifier: BSD-3-Clause
"""Objects as GeoJSON that QuPath imports."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from psmlearn._images._outlines import Outline, trace_outlines
from psmlearn.io._masks import check_mask
from psmlearn.io._objects import (
    ClassColors,
    ClassNames,
    object_classes,
    open_text,
    table_values,
)
from psmlearn.io._paths import as_path, atomic_path
from psmlearn.io._write import check_suffix, names_its_file

__all__ = ["write_geojson"]

_OBJECT_TYPES = ("annotation", "cell", "detection", "tile")
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
    measured = {
        _MEASUREMENTS.get(name, name): values
        for name, values in table_values(table, present).items()
        if name not in _NO_MEASUREMENTS
    }
    kinds, names = object_classes(mask), ClassNames(classes)
    shades = ClassColors(colors)
    with atomic_path(path) as part, open_text(part, packed=inner != plain) as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, outline in enumerate(trace_outlines(ids)):
            feature = _feature(outline, object_type, place)
            if outline.id in kinds:
                name = names.of(kinds[outline.id])
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
