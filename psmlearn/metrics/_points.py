# SPDX-License-Identifier: BSD-3-Clause
"""Points, and the objects of label images as points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn._typing import Labels, Points, Regions
from psmlearn.io._masks import check_regions
from psmlearn.io._point_checks import (
    EXPECTED_EITHER,
    LARGEST,
    as_points,
    list_points,
    load_points_or_mask,
    tell_points_beside,
    whole_classes,
)
from psmlearn.metrics._centres import measure_objects
from psmlearn.metrics._checks import check_labels, split_planes

PointPair = tuple[np.ndarray, np.ndarray]


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
    is_scalar = not isinstance(radius, list | tuple | range) and np.ndim(radius) == 0
    given: Any = radius
    values = [given] if is_scalar else list(given)
    if not values or not all(map(_is_above_zero, values)):
        raise ValueError(
            "radius must be a number of pixels above 0, or a sequence of such numbers; "
            f"got {radius!r}."
        )
    # No two points are further apart than that, and all squares stay above 0.
    return [min(max(float(value), 1e-150), 4 * LARGEST) for value in values], is_scalar


def _is_above_zero(value: Any) -> bool:
    if isinstance(value, str | bytes | bool | np.bool_):
        return False
    try:
        return 0 < float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def image_points(
    y_true: Points, y_pred: Points, labels: Labels | None, regions: Regions | None
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
        for named in (list_points(y_true, "y_true"), list_points(y_pred, "y_pred"))
    )
    if len(true) != len(pred):
        raise ValueError(
            f"y_true holds {len(true)} images and y_pred {len(pred)}; expected one "
            "prediction for each, in the same order."
        )
    if not true:
        raise ValueError("y_true holds no images; expected at least one.")
    masks = [t if t.mask is not None else p for t, p in zip(true, pred, strict=True)]
    shapes = [None if m.mask is None else m.mask.shape[:2] for m in masks]
    inside = check_regions(regions, len(true), shapes, [m.name for m in masks])
    images = list(zip(true, pred, inside, strict=True))
    for index, image in enumerate(images):
        _check_sizes(*image, index)
    tell_points_beside(
        (item.name, item.points, region.shape)
        for *pair, region in images
        for item in pair
        if item.points is not None and region is not None
    )
    return (_points_of_image(*image, classes) for image in images), is_scalar


def _point_set(item: Any, name: str, with_classes: bool) -> PointSet:
    """Tell points from a label image, and check their kind and shape."""
    item = load_points_or_mask(item, name)
    is_mask = item.ndim == 3 or (item.ndim == 2 and item.shape[1] not in (2, 3))
    if is_mask and item.dtype.kind != "f":
        split_planes(item, name, False, with_classes)
        return PointSet(name, mask=item)
    if is_mask or (item.ndim != 2 and item.shape != (0,)):
        hint = " (points of one image go in a list: [points])" if item.ndim == 1 else ""
        raise ValueError(
            f"{name} has shape {item.shape} and dtype {item.dtype}; {EXPECTED_EITHER}"
            f"{hint}."
        )
    values = as_points(item, name)
    if values.shape[1] == 3:
        return PointSet(name, values[:, :2], whole_classes(values[:, 2], name))
    if with_classes and len(values):
        raise ValueError(
            f"{name} has shape {values.shape}, so no classes; to score `labels` it "
            "must have shape (n, 3), with the classes in the third column."
        )
    return PointSet(name, values, np.zeros(len(values), dtype=np.int64))


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
        if points is None:
            points, classes = measure_objects(np.asarray(item.mask), item.name)
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
