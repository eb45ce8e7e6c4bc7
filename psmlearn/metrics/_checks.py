# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what the metrics are given."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from psmlearn._images._checks import ids_problem, stencil_problem
from psmlearn._parameters import as_numbers, is_number
from psmlearn._typing import Labels, Masks, Regions
from psmlearn.io._masks import check_regions, list_masks, load_mask, refuse_other_sizes
from psmlearn.metrics._object_classes import one_class_each

Average: TypeAlias = Literal["macro", "micro"] | None


class MaskPair(NamedTuple):
    """The ids of one image, true and predicted, and what to call them in errors.

    The classes are there only where scores of classes are asked for, the region
    only where not all of the image counts. `binary` tells that objects need not be
    told apart.
    """

    true: np.ndarray
    pred: np.ndarray
    true_name: str
    pred_name: str
    true_classes: np.ndarray | None = None
    pred_classes: np.ndarray | None = None
    region: np.ndarray | None = None
    binary: bool = False


def check_average(average: Average) -> None:
    """Refuse an `average` that is not known."""
    known = isinstance(average, str) and average in ("macro", "micro")
    if average is not None and not known:
        raise ValueError(f"average must be 'macro', 'micro' or None; got {average!r}.")


def check_zero_division(zero_division: float) -> float:
    """Refuse a `zero_division` other than 0, 1 and NaN."""
    value = float(zero_division) if is_number(zero_division) else math.inf
    if value not in (0.0, 1.0) and not math.isnan(value):
        raise ValueError(f"zero_division must be 0, 1 or NaN; got {zero_division!r}.")
    return value


def check_iou_threshold(
    iou_threshold: float | Sequence[float], lowest: float
) -> np.ndarray:
    """Refuse thresholds outside [lowest, 1), and bring them into an array.

    Returns
    -------
    ndarray of shape () or (n_thresholds,), float
    """
    thresholds = np.array(math.nan)
    try:
        if is_number(iou_threshold):
            thresholds = np.asarray(iou_threshold, dtype=np.float64)
        else:
            thresholds = as_numbers(iou_threshold, "iou_threshold", "")
    except (TypeError, ValueError):
        pass
    inside = (thresholds >= lowest) & (thresholds < 1)
    if not inside.all() or thresholds.ndim > 1 or not thresholds.size:
        raise ValueError(
            f"iou_threshold must be at least {lowest:g} and below 1, or a sequence of "
            f"such numbers; got {iou_threshold!r}."
        )
    return thresholds


def check_labels(labels: Labels | None) -> tuple[list[int] | None, bool]:
    """Refuse `labels` that are no classes, and bring them into a list.

    Returns
    -------
    labels : list of int, or None
        None where all objects count, whatever their class.
    is_scalar : bool
        Whether the axis of the classes is to be left out of the scores: True for
        a single class, and for None.
    """
    if labels is None:
        return None, True
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        return [_as_label(labels, labels)], True
    if isinstance(labels, np.ndarray) and labels.ndim == 0:
        return [_as_label(labels[()], labels)], True
    classes = [_as_label(label, labels) for label in labels]
    if not classes:
        raise ValueError("labels is empty; expected at least one class, or None.")
    if len(set(classes)) < len(classes):
        raise ValueError(f"labels holds a class twice: {classes}.")
    return classes, False


def check_pairs(
    y_true: Masks,
    y_pred: Masks,
    *,
    binary: bool = False,
    classes: bool = False,
    regions: Regions | None = None,
) -> list[MaskPair]:
    """Bring both arguments into lists of id planes that fit each other.

    Only kinds and shapes are looked at; `check_values` sees to the values.

    Parameters
    ----------
    y_true, y_pred : label images
        A list of them or of their paths, a stack, or one alone.
    binary : bool, default=False
        Whether boolean and 0/255 masks will do, as where objects are not told apart.
    classes : bool, default=False
        Whether the plane of the classes is needed as well.
    regions : boolean masks, default=None
        As `check_regions` takes them.

    Returns
    -------
    list of MaskPair
    """
    true = list_masks(y_true, "y_true", with_classes=classes)
    pred = list_masks(y_pred, "y_pred", with_classes=classes)
    if len(true) != len(pred):
        raise ValueError(
            f"y_true holds {len(true)} masks and y_pred {len(pred)}; expected one "
            "prediction for each true mask, in the same order."
        )
    if not true:
        raise ValueError("y_true holds no masks; expected at least one.")
    pairs = []
    for (true_name, true_mask), (pred_name, pred_mask) in zip(true, pred, strict=True):
        refuse_other_sizes((true_name, true_mask), (pred_name, pred_mask))
        true_ids, true_classes = split_planes(true_mask, true_name, binary, classes)
        pred_ids, pred_classes = split_planes(pred_mask, pred_name, binary, classes)
        if true_ids.shape != pred_ids.shape:
            raise ValueError(
                f"{true_name} has height and width {true_ids.shape} but {pred_name} "
                f"has {pred_ids.shape}; expected masks of the same size."
            )
        pairs.append(
            MaskPair(
                true_ids,
                pred_ids,
                true_name,
                pred_name,
                true_classes,
                pred_classes,
                binary=binary,
            )
        )
    if regions is None:
        return pairs
    shapes = [pair.true.shape for pair in pairs]
    inside = check_regions(regions, len(pairs), shapes, [p.true_name for p in pairs])
    return [p._replace(region=r) for p, r in zip(pairs, inside, strict=True)]


def by_object(pair: MaskPair) -> MaskPair:
    """Give the objects of a pair one class each; unknown pixels (-1) stay so."""
    if pair.true_classes is None or pair.pred_classes is None:
        return pair
    return pair._replace(
        true_classes=one_class_each(pair.true, pair.true_classes, keep_unknown=True),
        pred_classes=one_class_each(pair.pred, pair.pred_classes, keep_unknown=True),
    )


def check_values(
    ids: np.ndarray, mask: np.ndarray, name: str, binary: bool = False
) -> None:
    """Refuse a mask with values that are no ids.

    Parameters
    ----------
    ids : ndarray of int64
        Every value of the mask, at least once; zeros may be left out.
    mask : ndarray of shape (height, width)
        The mask itself.
    name : str
        What to call it in errors.
    binary : bool, default=False
        Whether a 0/255 mask will do.
    """
    if not ids.size:
        return
    lowest = ids.min()
    if lowest < -1:
        if mask.dtype.kind == "u":
            raise ValueError(f"{name} holds an id above 2**63 - 1; relabel it from 1.")
        raise ValueError(
            f"{name} holds the value {lowest}; expected 0 for background, 1..n for "
            "objects and -1 for unknown."
        )
    if binary or not (ids > 0).any():
        return
    # What an image file gives may be greys; else scattered ids are scored as they are.
    check = ids_problem if mask.dtype.kind == "u" else stencil_problem
    problem = check(mask)
    if problem is not None:
        raise ValueError(f"{name} {problem}.")


def check_class_values(classes: np.ndarray, name: str) -> None:
    """Refuse a plane of classes with values below -1."""
    if classes.size and classes.min() < -1:
        raise ValueError(
            f"{name} holds the class {classes.min()}; expected classes from 1 on, 0 "
            "for background and -1 for unknown."
        )


def _as_label(label: Any, labels: object) -> int:
    """Take one class, an integer above 0."""
    try:
        value = operator.index(label)
    except TypeError:
        value = 0
    if value < 1 or isinstance(label, bool | np.bool_):
        raise ValueError(
            "labels must be a class, an integer from 1 on, a sequence of classes, or "
            f"None for all objects; got {labels!r}."
        )
    return value


def split_planes(
    mask: Any, name: str, binary: bool, classes: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Take the ids of a mask, and its classes, after a look at its kind and shape."""
    mask = load_mask(mask, name)
    ids = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 2 else mask
    if ids.ndim != 2:
        raise ValueError(
            f"{name} has shape {mask.shape}; expected (height, width) ids, or (height, "
            "width, 2) with the classes in the second plane."
        )
    if not ids.size:
        raise ValueError(f"{name} has shape {ids.shape}, so no pixels.")
    if classes and mask.ndim == 2:
        raise ValueError(
            f"{name} has shape {mask.shape}, so no classes; to score `labels` it must "
            "have shape (height, width, 2), with the classes in the second plane."
        )
    if mask.dtype.kind not in "biu":
        raise ValueError(
            f"{name} has dtype {mask.dtype}; expected integer ids: use "
            "mask.astype(numpy.int32) if the values are ids, or "
            "skimage.measure.label(mask > 0.5) if they are a foreground map."
        )
    return ids, mask[..., 1] if classes else None
