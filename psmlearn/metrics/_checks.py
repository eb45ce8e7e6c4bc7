# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what the metrics are given."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from psmlearn._images._checks import is_stencil

Average = Literal["macro", "micro"] | None
Masks = ArrayLike | Sequence[ArrayLike]

Labels = int | Sequence[int] | None
Regions = ArrayLike | Sequence[ArrayLike | None] | None

_LABEL_HINT = "skimage.measure.label(mask > 0) gives each object its own id"


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
    try:
        value = float(zero_division)
    except (TypeError, ValueError):
        value = math.inf
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
    try:
        thresholds = np.asarray(iou_threshold, dtype=np.float64)
    except (TypeError, ValueError):
        thresholds = np.array(math.nan)
    inside = (thresholds >= lowest) & (thresholds < 1)
    if not inside.all() or thresholds.ndim > 1 or not thresholds.size:
        raise ValueError(
            f"iou_threshold must be at least {lowest:g} and below 1, or a sequence of "
            f"such numbers; got {iou_threshold!r}."
        )
    return thresholds


def check_labels(labels: Labels) -> tuple[list[int] | None, bool]:
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


def check_regions(
    regions: Regions,
    n_images: int,
    shapes: Sequence[tuple[int, int]] | None = None,
    names: Sequence[str] | None = None,
) -> list[np.ndarray | None]:
    """Bring `regions` into a list with one entry for each image.

    Parameters
    ----------
    regions : boolean masks of shape (height, width), or None
        A list of them, in which None stands for a whole image; a stack; one alone.
    n_images : int
        How many there must be.
    shapes : sequence of (height, width), default=None
        The size each must have; None where images have no size, as with points.
    names : sequence of str, default=None
        What to call each image in errors, such as "y_true[1]"; asked for only with
        `shapes`.

    Returns
    -------
    list of n_images entries, each an ndarray of bool or None
    """
    if regions is None:
        return [None] * n_images
    named = _named_regions(regions)
    if len(named) != n_images:
        raise ValueError(
            f"regions holds {len(named)} masks, but there are {n_images} images; "
            "expected one region for each image, in the same order."
        )
    checked = []
    for index, (name, region) in enumerate(named):
        if region is not None:
            region = _boolean_plane(region, name)
            if shapes is not None and region.shape != tuple(shapes[index]):
                raise ValueError(
                    f"{name} has height and width {region.shape} but "
                    f"{names[index]} has {tuple(shapes[index])}; expected one size."
                )
        checked.append(region)
    return checked


def check_pairs(
    y_true: Masks,
    y_pred: Masks,
    *,
    binary: bool = False,
    classes: bool = False,
    regions: Regions = None,
) -> list[MaskPair]:
    """Bring both arguments into lists of id planes that fit each other.

    Only kinds and shapes are looked at; `check_values` sees to the values.

    Parameters
    ----------
    y_true, y_pred : label images
        A list of them, a stack, or one alone.
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
    true, pred = _named_masks(y_true, "y_true"), _named_masks(y_pred, "y_pred")
    if len(true) != len(pred):
        raise ValueError(
            f"y_true holds {len(true)} masks and y_pred {len(pred)}; expected one "
            "prediction for each true mask, in the same order."
        )
    if not true:
        raise ValueError("y_true holds no masks; expected at least one.")
    pairs = []
    for (true_name, true_mask), (pred_name, pred_mask) in zip(true, pred, strict=True):
        true_ids, true_classes = _planes(true_mask, true_name, binary, classes)
        pred_ids, pred_classes = _planes(pred_mask, pred_name, binary, classes)
        if true_ids.shape != pred_ids.shape:
            raise ValueError(
                f"{true_name} has height and width {true_ids.shape} but {pred_name} "
                f"has {pred_ids.shape}; expected masks of the same size."
            )
        names = (true_name, pred_name)
        found = MaskPair(true_ids, pred_ids, *names, true_classes, pred_classes)
        pairs.append(found._replace(binary=binary))
    if regions is None:
        return pairs
    shapes, names = [p.true.shape for p in pairs], [p.true_name for p in pairs]
    inside = check_regions(regions, len(pairs), shapes, names)
    return [p._replace(region=r) for p, r in zip(pairs, inside, strict=True)]


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
    if binary or ids.max() != 255:
        return
    if (ids[ids > 0] == 255).all() and is_stencil(mask):
        raise ValueError(
            f"{name} is a 0/255 mask: 255 is its only value above 0, so all its "
            f"objects would count as one; {_LABEL_HINT}."
        )


def check_class_values(classes: np.ndarray, name: str) -> None:
    """Refuse a plane of classes with values below -1."""
    if classes.size and classes.min() < -1:
        raise ValueError(
            f"{name} holds the class {classes.min()}; expected classes from 1 on, 0 "
            "for background and -1 for unknown."
        )


def _as_label(label: object, labels: object) -> int:
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


def _named_regions(regions: Regions) -> list[tuple[str, ArrayLike | None]]:
    """List the regions, each with what to call it in errors."""
    if isinstance(regions, str | bytes | os.PathLike) or not isinstance(
        regions, Iterable
    ):
        raise TypeError(
            f"regions is {regions!r}; expected boolean masks of shape (height, width): "
            "a list of arrays, or one array."
        )
    if isinstance(regions, np.ndarray) and regions.dtype != object:
        if regions.ndim == 2:
            return [("regions", regions)]
        if regions.ndim != 3:
            raise ValueError(
                f"regions has shape {regions.shape}; expected (n_images, height, "
                "width), (height, width) or a list of boolean masks."
            )
    return [(f"regions[{index}]", region) for index, region in enumerate(regions)]


def _boolean_plane(region: ArrayLike, name: str) -> np.ndarray:
    """Take one region, after a look at its kind and shape."""
    region = np.asarray(region)
    if region.dtype != bool:
        raise ValueError(
            f"{name} has dtype {region.dtype}; expected a boolean mask, True inside: "
            "use region > 0 if it is drawn in numbers."
        )
    if region.ndim != 2:
        raise ValueError(
            f"{name} has shape {region.shape}; expected (height, width), as its image."
        )
    return region


def _named_masks(masks: Masks, name: str) -> list[tuple[str, ArrayLike]]:
    """List the masks, each with what to call it in errors."""
    if isinstance(masks, str | bytes | os.PathLike):
        raise TypeError(_path_message(name, masks))
    if isinstance(masks, np.ndarray) and masks.dtype.kind not in "OSU":
        if masks.ndim == 2:
            return [(name, masks)]
        if masks.ndim == 3 and masks.shape[2] == 2:
            raise ValueError(
                f"{name} has shape {masks.shape}: one mask with classes, or a stack of "
                "masks 2 pixels wide? Give a list: [mask], or list(masks)."
            )
        if masks.ndim != 3 and not (masks.ndim == 4 and masks.shape[3] == 2):
            raise ValueError(
                f"{name} has shape {masks.shape}; expected (n_images, height, width), "
                "(n_images, height, width, 2), (height, width) or a list of masks."
            )
    elif not isinstance(masks, Iterable):
        raise TypeError(
            f"{name} is a {type(masks).__name__}; expected label images: a list of "
            "arrays, or one array."
        )
    return [(f"{name}[{index}]", mask) for index, mask in enumerate(masks)]


def _planes(
    mask: ArrayLike, name: str, binary: bool, classes: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Take the ids of a mask, and its classes, after a look at its kind and shape."""
    if isinstance(mask, str | bytes | os.PathLike):
        raise TypeError(_path_message(name, mask))
    mask = np.asarray(mask)
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
    if mask.dtype.kind == "b" and not binary:
        raise ValueError(
            f"{name} is boolean, so it does not tell objects apart; {_LABEL_HINT}."
        )
    if mask.dtype.kind not in "biu":
        raise ValueError(
            f"{name} has dtype {mask.dtype}; expected integer ids: use "
            "mask.astype(numpy.int32) if the values are ids, or "
            "skimage.measure.label(mask > 0.5) if they are a foreground map."
        )
    return ids, mask[..., 1] if classes else None


def _path_message(name: str, path: object) -> str:
    return (
        f"{name} is {path!r}; expected a label image as an array: read it with "
        "psmlearn.io.read_labels."
    )
