# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei of images as points with a class and a region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from psmlearn._images._checks import as_label_image
from psmlearn.io import read_image, read_labels
from psmlearn.io._paths import as_path, is_path
from psmlearn.metrics._centres import measure_objects
from psmlearn.metrics._checks import _named_regions
from psmlearn.metrics._points import _whole, as_points

_EXPECTED = (
    "expected a label image (height, width, 2) with the classes in the second plane, "
    "or points (n, 3) of row, column and class"
)


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
    """

    name: str
    points: np.ndarray
    classes: np.ndarray
    regions: np.ndarray
    region_ids: np.ndarray | None
    shape: tuple[int, int] | None
    is_inside: np.ndarray


def read_cells(
    y: ArrayLike | Sequence[ArrayLike],
    regions: ArrayLike | Sequence[ArrayLike | None] | None,
    names: Sequence[str] | None,
) -> list[ImageCells]:
    """Bring masks or points of all images, with their regions, into one form."""
    items = list_items(y)
    names = check_names(names, items)
    planes = list_regions(regions, len(items))
    cells = []
    for index, (item, plane) in enumerate(zip(items, planes, strict=True)):
        points, classes, shape = _points_with_class(item, f"y[{index}]")
        cells.append(_cut(names[index], points, classes, shape, plane, index))
    return cells


def list_items(y: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
    """List the masks or points of each image."""
    if is_path(y):
        return [y]
    if isinstance(y, np.ndarray) and y.dtype != object:
        if y.ndim == 2 or (y.ndim == 3 and y.shape[2] == 2 and y.dtype.kind in "iu"):
            return [y]
        if y.ndim not in (1, 3, 4):
            raise ValueError(f"y has shape {y.shape}; {_EXPECTED}, or a list of them.")
    elif not isinstance(y, Iterable):
        raise TypeError(f"y is a {type(y).__name__}; {_EXPECTED}, or a list of them.")
    items = list(y)
    if not items:
        raise ValueError("y holds no images; expected at least one.")
    return items


def read_item(item: ArrayLike, name: str) -> np.ndarray:
    """Take the array of one image; a path is read."""
    if is_path(item):
        return read_labels(as_path(item))
    try:
        return np.asarray(item)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}; {_EXPECTED}.") from error


def check_names(names: Sequence[str] | None, items: Sequence) -> list[str]:
    """Return one name for each image: that of its file, if it has one."""
    if names is None:
        return [
            Path(as_path(item)).stem if is_path(item) else f"image {index}"
            for index, item in enumerate(items)
        ]
    names = [str(name) for name in names]
    if len(names) != len(items):
        raise ValueError(
            f"names holds {len(names)} names, but there are {len(items)} images."
        )
    return names


def check_classes(positive: int, negative: int) -> None:
    """Refuse classes that are no integers from 1 on, or the same twice."""
    for name, value in (("positive", positive), ("negative", negative)):
        is_integer = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_integer or value < 1:
            raise ValueError(f"{name} must be a class from 1 on, got {value!r}.")
    if positive == negative:
        raise ValueError(
            f"positive and negative are both class {positive}; they must differ."
        )


def check_number(
    value: float, name: str, low: float, high: float = np.inf, *, whole: bool = False
) -> None:
    """Refuse what is no number above ``low`` and below ``high``."""
    kind = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool) or not low < value < high:
        what = "a whole number" if whole else "a number"
        limit = "" if high == np.inf else f" and below {high:g}"
        raise ValueError(f"{name} must be {what} above {low:g}{limit}, got {value!r}.")


def list_regions(
    regions: ArrayLike | Sequence[ArrayLike | None] | None, n_images: int
) -> list[np.ndarray | None]:
    """Bring the regions into a list with one plane, or None, for each image."""
    if regions is None:
        return [None] * n_images
    named = _named_regions(regions)
    if len(named) != n_images:
        raise ValueError(
            f"regions holds {len(named)} masks, but there are {n_images} images; "
            "expected one region for each image, in the same order."
        )
    return [None if plane is None else _plane(plane, name) for name, plane in named]


def _plane(region: ArrayLike, name: str) -> np.ndarray:
    if is_path(region):
        name, region = str(region), read_image(as_path(region))
        if region.dtype == np.uint8 and set(np.unique(region)) <= {0, 255}:
            region = region > 0  # black and white: a mask, not region 255
    region = np.asarray(region)
    if region.ndim != 2 or region.dtype.kind not in "biu":
        raise ValueError(
            f"{name} has shape {region.shape} and dtype {region.dtype}; expected a "
            "boolean mask (height, width), or whole numbers: 0 outside, 1..n regions."
        )
    return region


def _points_with_class(
    item: ArrayLike, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """Take centres and classes of one image, and its size where it is known."""
    item = read_item(item, name)
    if item.ndim == 3 and item.shape[2] == 2:
        mask = as_label_image(item, name)
        return *measure_objects(mask, name), mask.shape[:2]
    if item.shape == (0,):
        item = np.empty((0, 3))
    if item.ndim != 2 or item.shape[1] != 3:
        hint = "; a mask without classes has no index" if item.ndim == 2 else ""
        raise ValueError(f"{name} has shape {item.shape}; {_EXPECTED}{hint}.")
    values = as_points(item, name)
    return values[:, :2], _whole(values[:, 2], name), None


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
