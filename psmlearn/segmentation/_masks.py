# SPDX-License-Identifier: BSD-3-Clause
"""The masks to train on: from y or from channels of X, checked."""

from __future__ import annotations

import warnings

import numpy as np

from psmlearn._images._instances import relabel
from psmlearn.io._batch import ImageBatch, check_masks

__all__ = ["class_planes", "training_masks"]


def training_masks(
    images: ImageBatch, y, channels: list[int], name: str
) -> list[np.ndarray]:
    """Return label images whose ids have no gaps, with classes where there are.

    Parameters
    ----------
    images : ImageBatch
    y : masks or None
        Not looked at where `channels` say what to take.
    channels : list of int
        Channels of X: none, that of the ids, or those of ids and classes.
    name : str
        The estimator's.

    Returns
    -------
    masks : list of ndarray of shape (height, width) or (height, width, 2), int32
        All with a plane of classes or none; fresh arrays.
    """
    if channels:
        planes = [images.stored(i)[..., channels] for i in range(len(images))]
        planes = [plane.astype(np.int64) for plane in planes]
        if len(channels) == 1:
            planes = [plane[..., 0] for plane in planes]
        masks = check_masks(planes, images, caller=name)
    elif y is None:
        raise ValueError(
            f"{name}.fit requires y to be passed, but the target y is None; pass "
            "masks, or say by label_channel which channel of X holds them."
        )
    else:
        _refuse_stencils(y, name)
        masks = check_masks(y, images, caller=name)
    _check_planes(masks, name)
    if not any((_ids(mask) >= 0).any() for mask in masks):
        raise ValueError(f"{name}: all pixels of all masks are unknown (-1).")
    if not any((_ids(mask) > 0).any() for mask in masks):
        warnings.warn(
            f"{name}: no mask holds an object; the network learns background only.",
            UserWarning,
            stacklevel=5,
        )
    # Ids without gaps: tables by id stay as small as the masks.
    return [_dense(mask) for mask in masks]


def class_planes(masks: list[np.ndarray]) -> list[np.ndarray] | None:
    """Return the planes of classes, or None where there are none."""
    if masks[0].ndim == 2:
        return None
    return [mask[..., 1] for mask in masks]


def _ids(mask: np.ndarray) -> np.ndarray:
    return mask if mask.ndim == 2 else mask[..., 0]


def _check_planes(masks: list[np.ndarray], name: str) -> None:
    """Refuse a collection of which some have classes and some have not."""
    kinds = [mask.ndim for mask in masks]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"{name}: mask {kinds.index(3)} has a plane of classes, mask "
            f"{kinds.index(2)} has none; give all of them one, 0 where the class of an "
            "object is unknown, or none of them: mask[..., 0]."
        )


def _dense(mask: np.ndarray) -> np.ndarray:
    """Return the mask with its objects numbered from 1; -1 and 0 stay."""
    ids = _ids(mask)
    dense = relabel(np.maximum(ids, 0))
    dense[ids < 0] = -1
    if mask.ndim == 2:
        return dense
    # Where there is no object there is no class, and unknown is one thing.
    classes = np.where(dense > 0, np.maximum(mask[..., 1], 0), dense)
    return np.stack([dense, classes], axis=-1)


def _refuse_stencils(y, name: str) -> None:
    """Refuse boolean masks: all their nuclei would be taken for one."""
    for i, mask in enumerate(y if isinstance(y, (list, tuple, np.ndarray)) else ()):
        if isinstance(mask, np.ndarray) and mask.dtype.kind == "b":
            raise ValueError(
                f"{name}: mask {i} is boolean, so its nuclei have no ids; use "
                "skimage.measure.label(mask) to give each its own."
            )
