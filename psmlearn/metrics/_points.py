# SPDX-License-Identifier: BSD-3-Clause
"""Points, and the objects of label images as points."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from psmlearn.metrics._centres import measure_objects
from psmlearn.metrics._checks import (
    Labels,
    Regions,
    _planes,
    check_labels,
    check_regions,
)

Points = ArrayLike | Sequence[ArrayLike]
PointPair = tuple[np.ndarray, np.ndarray]

# Beyond, floats do not tell a pixel from the next.
_LARGEST = 2.0**53
_EXPECTED = (
    "expected points (n, 2) of row and column, (n, 3) with the class, or a label image"
)


@dataclass(frozen=True)
class PointSet:
    """The points of one image, or the label image to take them from.

    Attributes
    ----------
    name : str
        What to call them in errors.
    points : ndarray of shape (n, 2), float64, or None
        Row and column.
    classes : ndarray of shape (n,), int64, or None
        Zeros where no classes are told.
    mask : ndarray of shape (height, width) or (height, width, 2), or None
        The label image.
    """

    name: str
    points: np.ndarray | None = None
    classes: np.ndarray | None = None
    mask: np.ndarray | None = None


def check_radius(radius: float | Sequence[float]) -> tuple[list[float], bool]:
    """Refuse radii that are not above 0; tell whether it is one number."""
    is_scalar = np.ndim(radius) == 0
    values = [radius] if is_scalar else list(radius)
    if not values or not all(map(_is_above_zero, values)):
        raise ValueError(
            "radius must be a number of pixels above 0, or a sequence of such numbers; "
            f"got {radius!r}."
        )
    # No two points are further apart than that, and all squares stay above 0.
    return [min(max(float(value), 1e-150), 4 * _LARGEST) for value in values], is_scalar


def _is_above_zero(value: float) -> bool:
    if isinstance(value, str | bytes | bool | np.bool_):
        return False
    try:
        return 0 < float(value) < math.inf
    except (TypeError, ValueError):
        return False


def as_points(points: ArrayLike, name: str) -> np.ndarray:
    """Check the points of one image.

    Returns
    -------
    ndarray of shape (n, 2) or (n, 3), float64
    """
    points = _as_array(points, name)
    if points.shape == (0,):
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] not in (2, 3) or points.dtype.kind == "b":
        raise ValueError(
            f"{name} has shape {points.shape} and dtype {points.dtype}; expected "
            "points (n, 2) of row and column, or (n, 3) with the class."
        )
    values = points.astype(np.float64)
    bad = ~(np.abs(values) <= _LARGEST).all(axis=1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name} holds NaN, infinite or huge values: its point {index} is "
            f"{points[index].tolist()}."
        )
    return values


def image_points(
    y_true: Points, y_pred: Points, labels: Labels, regions: Regions
) -> tuple[Iterator[list[PointPair]], bool]:
    """Bring both arguments into points that fit each other.

    All shapes and kinds are checked at once; objects of label images are measured
    image by image, as the iterator goes.

    Parameters
    ----------
    y_true, y_pred : points or label images
        A list of them, a stack, or those of one image.
    labels : int, sequence of int or None
    regions : boolean masks or None

    Returns
    -------
    images : iterator
        For each image a list with the true and the predicted points, each of shape
        (n, 2), of each label, or a list of one pair where `labels` is None.
    is_scalar : bool
        Whether the axis of the labels is to be left out.
    """
    classes, is_scalar = check_labels(labels)
    with_classes = classes is not None
    true, pred = (
        [_point_set(item, item_name, with_classes) for item_name, item in named]
        for named in (_named_items(y_true, "y_true"), _named_items(y_pred, "y_pred"))
    )
    if len(true) != len(pred):
        raise ValueError(
            f"y_true holds {len(true)} images and y_pred {len(pred)}; expected one "
            "prediction for each, in the same order."
        )
    if not true:
        raise ValueError("y_true holds no images; expected at least one.")
    images = list(zip(true, pred, check_regions(regions, len(true)), strict=True))
    for index, image in enumerate(images):
        _check_sizes(*image, index)
    return (_points_of_image(*image, classes) for image in images), is_scalar


def _named_items(y: Points, name: str) -> list[tuple[str, ArrayLike]]:
    """List the images' points or masks, each with what to call it in errors."""
    if isinstance(y, str | bytes | os.PathLike) or not isinstance(y, Iterable):
        raise TypeError(f"{name} is {y!r}; {_EXPECTED}, or a list of them.")
    if isinstance(y, np.ndarray) and y.dtype != object:
        if y.ndim == 2:
            return [(name, y)]
        if y.ndim == 3 and y.shape[2] == 2 and y.dtype.kind != "f":
            raise ValueError(
                f"{name} has shape {y.shape}: points of many images, or one mask with "
                f"classes? Give a list: list({name}), or [{name}]."
            )
        if y.ndim != 3 and not (y.ndim == 4 and y.shape[3] == 2):
            raise ValueError(f"{name} has shape {y.shape}; {_EXPECTED}.")
    return [(f"{name}[{index}]", item) for index, item in enumerate(y)]


def _as_array(item: ArrayLike, name: str) -> np.ndarray:
    if isinstance(item, str | bytes | os.PathLike):
        raise TypeError(f"{name} is {item!r}; {_EXPECTED}, as an array.")
    try:
        item = np.asarray(item)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}; {_EXPECTED}.") from error
    if item.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {item.dtype}; {_EXPECTED}.")
    return item


def _point_set(item: ArrayLike, name: str, with_classes: bool) -> PointSet:
    """Tell points from a label image, and check their kind and shape."""
    item = _as_array(item, name)
    is_mask = item.ndim == 3 or (item.ndim == 2 and item.shape[1] not in (2, 3))
    if is_mask and item.dtype.kind != "f":
        _planes(item, name, False, with_classes)
        return PointSet(name, mask=item)
    if is_mask or (item.ndim != 2 and item.shape != (0,)):
        hint = " (points of one image go in a list: [points])" if item.ndim == 1 else ""
        raise ValueError(
            f"{name} has shape {item.shape} and dtype {item.dtype}; {_EXPECTED}{hint}."
        )
    values = as_points(item, name)
    if values.shape[1] == 3:
        return PointSet(name, values[:, :2], _whole(values[:, 2], name))
    if with_classes and len(values):
        raise ValueError(
            f"{name} has shape {values.shape}, so no classes; to score `labels` it "
            "must have shape (n, 3), with the classes in the third column."
        )
    return PointSet(name, values, np.zeros(len(values), dtype=np.int64))


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Take classes from floats."""
    classes = values.astype(np.int64)
    bad = (classes != values) | (classes < -1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name} holds the class {values[index]:g} in the third column, at its "
            f"point {index}; expected whole numbers from 1 on, 0 for none and -1 for "
            "unknown."
        )
    return classes


def _check_sizes(
    true: PointSet, pred: PointSet, region: np.ndarray | None, index: int
) -> None:
    """Refuse masks and a region that differ in size."""
    planes = [(item.name, item.mask) for item in (true, pred) if item.mask is not None]
    if region is not None:
        planes.append((f"regions[{index}]", region))
    for (name, plane), (other_name, other) in zip(planes, planes[1:], strict=False):
        if plane.shape[:2] != other.shape[:2]:
            raise ValueError(
                f"{name} has height and width {plane.shape[:2]} but {other_name} has "
                f"{other.shape[:2]}; expected one size."
            )


def _points_of_image(
    true: PointSet,
    pred: PointSet,
    region: np.ndarray | None,
    labels: list[int] | None,
) -> list[PointPair]:
    """Take the points that count, of each label."""
    masks = [item.mask for item in (true, pred) if item.mask is not None]
    both = []
    for item in (true, pred):
        points, classes = item.points, item.classes
        if item.mask is not None:
            points, classes = measure_objects(item.mask, item.name)
        counts = _counting(points, masks, region, labels is not None)
        both.append((points[counts], None if classes is None else classes[counts]))
    (true_points, true_classes), (pred_points, pred_classes) = both
    if labels is None:
        return [(true_points, pred_points)]
    return [
        (true_points[true_classes == label], pred_points[pred_classes == label])
        for label in labels
    ]


def _counting(
    points: np.ndarray,
    planes: list[np.ndarray],
    region: np.ndarray | None,
    with_classes: bool,
) -> np.ndarray:
    """Tell which points lie in the region and on no unknown pixel."""
    counts = np.ones(len(points), dtype=bool)
    if not planes and region is None:
        return counts
    shape = region.shape if region is not None else planes[0].shape[:2]
    # Pixels are centred on whole numbers.
    rows, columns = np.floor(points + 0.5).astype(np.int64).T
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    place = rows[inside], columns[inside]
    known = np.ones(len(place[0]), dtype=bool)
    if region is not None:
        counts &= inside
        known &= region[place]
    for plane in planes:
        ids, classes = (
            (plane, None) if plane.ndim == 2 else (plane[..., 0], plane[..., 1])
        )
        known &= ids[place] != -1
        if with_classes and classes is not None:
            known &= classes[place] != -1
    counts[inside] &= known
    return counts
