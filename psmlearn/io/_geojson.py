# SPDX-License-Identifier: BSD-3-Clause
"""Objects as GeoJSON that QuPath imports."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from psmlearn.io._geojson_writer import GeoJSONWriter
from psmlearn.io._masks import check_mask
from psmlearn.io._write import names_its_file

__all__ = ["write_geojson"]


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
    writer = GeoJSONWriter(
        path,
        object_type=object_type,
        classes=classes,
        colors=colors,
        downsample=downsample,
    )
    mask = check_mask(labels, name="labels")
    with writer:
        writer.add(mask, offset=offset, measurements=table)
