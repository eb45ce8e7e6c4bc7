# SPDX-License-Identifier: BSD-3-Clause
"""What napari calls: GeoJSON in, label images out. ``napari.yaml`` names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["get_reader", "write_geojson_layer", "write_tiff_layer"]

LayerData: TypeAlias = tuple[np.ndarray, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return what reads a file into a layer of labels.

    Parameters
    ----------
    path : str or list of str

    Returns
    -------
    callable or None
        Takes the path; None where it does not end in .geojson or .geojson.gz.

    Examples
    --------
    >>> from psmlearn._napari import get_reader
    >>> get_reader("nuclei.geojson").__name__, get_reader("nuclei.csv")
    ('read_geojson', None)
    """
    known = isinstance(path, str) and path.lower().endswith((".geojson", ".geojson.gz"))
    return read_geojson if known else None


def read_geojson(path: str) -> list[LayerData]:
    """Read the nuclei of a file as a layer of labels, with the class of each."""
    from psmlearn.datasets._geojson_file import read_nuclei

    labels, classes = read_nuclei(path)
    features = {"index": list(range(1, len(classes) + 1)), "class": classes}
    name = Path(path).name.partition(".geojson")[0]
    told = {"name": name, **({"features": features} if any(classes) else {})}
    return [(labels, told, "labels")]


def write_geojson_layer(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a layer of labels as outlines for QuPath.

    Parameters
    ----------
    path : str
        Ends in .geojson.
    data : array-like of int, (height, width)
    meta : mapping
        What napari says of the layer; its name is told in errors.

    Returns
    -------
    list of str
        The file.
    """
    from psmlearn.io import write_geojson

    write_geojson(path, _plane(data, meta))
    return [path]


def write_tiff_layer(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a layer of labels as a label image; parameters as above."""
    from psmlearn.io import write_labels

    write_labels(path, _plane(data, meta))
    return [path]


def _plane(data: Any, meta: Mapping[str, Any]) -> np.ndarray:
    """Return the labels of a layer of one plane."""
    labels = np.asarray(data)
    if labels.ndim != 2:
        raise ValueError(
            f"the layer {str(meta.get('name', 'labels'))!r} has {labels.ndim} axes "
            f"(shape {labels.shape}); psmlearn writes images (height, width). Save its "
            "planes one by one."
        )
    return labels
