# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what the metrics are given."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from psmlearn._images._checks import is_stencil

Average = Literal["macro", "micro"] | None
Masks = ArrayLike | Sequence[ArrayLike]

_LABEL_HINT = "skimage.measure.label(mask > 0) gives each object its own id"


class MaskPair(NamedTuple):
    """The ids of one image, true and predicted, and what to call them in errors."""

    true: np.ndarray
    pred: np.ndarray
    true_name: str
    pred_name: str


def check_average(average: Average) -> None:
    """Refuse an `average` that is not known."""
    if average is not None and average not in ("macro", "micro"):
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


def check_iou_threshold(iou_threshold: float, lowest: float) -> None:
    """Refuse an `iou_threshold` outside [lowest, 1)."""
    try:
        inside = lowest <= float(iou_threshold) < 1
    except (TypeError, ValueError):
        inside = False
    if not inside:
        raise ValueError(
            f"iou_threshold must be at least {lowest:g} and below 1; "
            f"got {iou_threshold!r}."
        )


def check_pairs(
    y_true: Masks, y_pred: Masks, *, binary: bool = False
) -> list[MaskPair]:
    """Bring both arguments into lists of id planes that fit each other.

    Only kinds and shapes are looked at; `check_values` sees to the values.

    Parameters
    ----------
    y_true, y_pred : label images
        A list of them, a stack, or one alone.
    binary : bool, default=False
        Whether boolean masks will do, as where objects are not told apart.

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
        true_ids = _id_plane(true_mask, true_name, binary)
        pred_ids = _id_plane(pred_mask, pred_name, binary)
        if true_ids.shape != pred_ids.shape:
            raise ValueError(
                f"{true_name} has height and width {true_ids.shape} but {pred_name} "
                f"has {pred_ids.shape}; expected masks of the same size."
            )
        pairs.append(MaskPair(true_ids, pred_ids, true_name, pred_name))
    return pairs


def check_values(ids: np.ndarray, mask: np.ndarray, name: str) -> None:
    """Refuse a mask with values that are no ids.

    Parameters
    ----------
    ids : ndarray of int64
        Every value of the mask, at least once; zeros may be left out.
    mask : ndarray of shape (height, width)
        The mask itself.
    name : str
        What to call it in errors.
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
    if ids.max() == 255 and (ids[ids > 0] == 255).all() and is_stencil(mask):
        raise ValueError(
            f"{name} is a 0/255 mask: 255 is its only value above 0, so all its "
            f"objects would count as one; {_LABEL_HINT}."
        )


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


def _id_plane(mask: ArrayLike, name: str, binary: bool) -> np.ndarray:
    """Take the ids of a mask, after a look at its kind and shape."""
    if isinstance(mask, str | bytes | os.PathLike):
        raise TypeError(_path_message(name, mask))
    mask = np.asarray(mask)
    if mask.ndim == 3 and mask.shape[2] == 2:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise ValueError(
            f"{name} has shape {mask.shape}; expected (height, width) ids, or (height, "
            "width, 2) with the classes in the second plane."
        )
    if not mask.size:
        raise ValueError(f"{name} has shape {mask.shape}, so no pixels.")
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
    return mask


def _path_message(name: str, path: object) -> str:
    return (
        f"{name} is {path!r}; expected a label image as an array: read it with "
        "psmlearn.io.read_labels."
    )
