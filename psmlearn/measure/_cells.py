# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei of images as points with a class and a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from psmlearn import _parameters
from psmlearn._images._checks import as_label_image
from psmlearn._parameters import is_number
from psmlearn._typing import Points, Regions, Table
from psmlearn.io._collections import list_items
from psmlearn.io._masks import check_regions, declared_size
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._point_checks import (
    as_points,
    load_points_or_mask,
    tell_points_beside,
    whole_classes,
)
from psmlearn.metrics._centres import measure_objects

_EXPECTED = (
    "expected a label image (height, width, 2) with the classes in the second plane, "
    "or points (n, 3) of row, column and class"
)
_COLUMNS = ("centroid_row", "centroid_column", "class")


@dataclass(frozen=True)
class ImageCells:
    """The nuclei of one image that lie in its region.

    Attributes
    ----------
    name : str
        What to call the image.
    points : ndarray of shape (n, 2), float64
        Row and column in pixels.
    classes : ndarray of shape (n,), int64
    regions : ndarray of shape (n,), int64
        Number of the region that each lies in.
    region_ids : ndarray of int64, or None
        Numbers of all regions; None where they are not numbered.
    shape : tuple (height, width), or None
        None where only points are known.
    is_inside : ndarray of shape (n_all,), bool
        Which nuclei of the image these are, in the order of ids or points.
    path : str, or None
        The file they came from.
    """

    name: str
    points: np.ndarray
    classes: np.ndarray
    regions: np.ndarray
    region_ids: np.ndarray | None
    shape: tuple[int, int] | None
    is_inside: np.ndarray
    path: str | None = None


def read_cells(
    y: Points | Table, regions: Regions | None, names: Sequence[str] | None
) -> list[ImageCells]:
    """Bring masks or points of all images, with their regions, into one form."""
    named = list_cells(y)
    names = check_names(names, [item for _, item in named])
    planes = list_regions(regions, len(named), [_mask_size(item) for _, item in named])
    cells, placed = [], []
    for index, ((called, item), plane) in enumerate(zip(named, planes, strict=True)):
        points, classes, shape = _points_with_class(item, called)
        placed.append((called, points, None if plane is None else plane.shape))
        found = _cut(names[index], points, classes, shape, plane, index)
        cells.append(replace(found, path=as_path(item) if is_path(item) else None))
    tell_points_beside(placed)
    return cells


def list_cells(y: Points | Table) -> list[tuple[str, Any]]:
    """List the masks or points of each image, each with what to call it in errors."""
    given: Any = [y] if isinstance(y, Mapping) else y
    if isinstance(given, list | tuple):
        given = [
            _points_of_table(item, f"y[{index}]") if isinstance(item, Mapping) else item
            for index, item in enumerate(given)
        ]

    def is_one(array: np.ndarray) -> bool:
        if array.ndim not in (2, 3, 4):
            raise ValueError(
                f"y has shape {array.shape}; {_EXPECTED}, or a list of them."
            )
        with_classes = array.ndim == 3 and array.shape[2] == 2
        return array.ndim == 2 or (with_classes and array.dtype.kind in "iu")

    named = list_items(given, "y", f"{_EXPECTED}, or a list of them", is_one)
    if not named:
        raise ValueError("y holds no images; expected at least one.")
    return named


def _points_of_table(table: Table, name: str) -> np.ndarray:
    """Take row, column and class from a table of nuclei, a column each."""
    lost = [column for column in _COLUMNS if column not in table]
    if lost:
        raise ValueError(
            f"{name} is a table without the column {lost[0]!r}; it has "
            f"{', '.join(map(repr, table)) or 'none'}: expected {_COLUMNS[0]!r}, "
            f"{_COLUMNS[1]!r} and 'class', as psmlearn.measure.nuclei_table gives them "
            "of label images with classes."
        )
    columns = [np.asarray(table[column]) for column in _COLUMNS]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        raise ValueError(
            f"{name} is a table whose columns {', '.join(_COLUMNS)} have the shapes "
            f"{[column.shape for column in columns]}; expected one number for each "
            "nucleus."
        )
    return np.column_stack(columns)


def check_names(names: Sequence[str] | None, items: Sequence[Any]) -> list[str]:
    """Return one name for each image: that of its file, if it has one."""
    if names is None:
        return [
            Path(as_path(item)).stem if is_path(item) else f"image {index}"
            for index, item in enumerate(items)
        ]
    return _parameters.check_names(names, len(items))


def check_classes(positive: int, negative: int) -> None:
    """Refuse classes that are no integers from 1 on, or the same twice."""
    for name, value in (("positive", positive), ("negative", negative)):
        if not is_number(value, whole=True) or value < 1:
            raise ValueError(f"{name} must be a class from 1 on, got {value!r}.")
    if positive == negative:
        raise ValueError(
            f"positive and negative are both class {positive}; they must differ."
        )


def list_regions(
    regions: Regions | None,
    n_images: int,
    shapes: Sequence[tuple[int, int] | None] | None = None,
) -> list[np.ndarray | None]:
    """Bring the regions into a list with one plane, or None, for each image."""
    return check_regions(regions, n_images, shapes, numbered=True)


def _mask_size(item: Any) -> tuple[int, int] | None:
    """Return the size of a mask; None for points."""
    is_points = isinstance(item, np.ndarray) and item.ndim < 3
    return None if is_points else declared_size(item)


def _points_with_class(
    item: Any, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """Take centres and classes of one image, and its size where it is known."""
    item = load_points_or_mask(item, name)
    if item.ndim == 3 and item.shape[2] == 2:
        mask = as_label_image(item, name)
        points, classes = measure_objects(mask, name)
        return points, np.asarray(classes), (mask.shape[0], mask.shape[1])
    if item.shape == (0,):
        item = np.empty((0, 3))
    if item.ndim != 2 or item.shape[1] != 3:
        hint = "; a mask without classes has no index" if item.ndim == 2 else ""
        raise ValueError(f"{name} has shape {item.shape}; {_EXPECTED}{hint}.")
    values = as_points(item, name)
    return values[:, :2], whole_classes(values[:, 2], name), None


def _cut(
    name: str,
    points: np.ndarray,
    classes: np.ndarray,
    shape: tuple[int, int] | None,
    plane: np.ndarray | None,
    index: int,
) -> ImageCells:
    """Keep the nuclei whose centre lies in the region."""
    if plane is None:
        inside = np.ones(len(points), dtype=bool)
        where = np.ones(len(points), dtype=np.int64)
        return ImageCells(name, points, classes, where, None, shape, inside)
    if shape is not None and plane.shape != shape:
        raise ValueError(
            f"regions[{index}] has height and width {plane.shape} but y[{index}] has "
            f"{shape}; expected one size."
        )
    where = look_up(plane, points)
    inside = where > 0
    ids = None
    if plane.dtype.kind != "b":
        ids = np.unique(plane[plane > 0]).astype(np.int64)
    return ImageCells(
        name, points[inside], classes[inside], where[inside], ids, plane.shape, inside
    )


def look_up(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the plane's value below each point; 0 for points beside the plane."""
    # Pixels are centred on whole numbers.
    rows, columns = np.floor(points + 0.5).astype(np.int64).reshape(-1, 2).T
    on_it = (rows >= 0) & (rows < plane.shape[0])
    on_it &= (columns >= 0) & (columns < plane.shape[1])
    values = np.zeros(len(rows), dtype=np.int64)
    values[on_it] = plane[rows[on_it], columns[on_it]]
    return values
