# SPDX-License-Identifier: BSD-3-Clause
"""The masks to train on: from y or from channels of X, checked."""

from __future__ import annotations

import numpy as np

from psmlearn._images._instances import relabel
from psmlearn._warnings import warn_user
from psmlearn.exceptions import TrainingWarning
from psmlearn.io._batch import ImageBatch, check_images, check_masks
from psmlearn.io._standardised import StandardisedBatch
from psmlearn.segmentation._classes import ids_of

__all__ = ["class_planes", "refuse_forgotten_classes", "training_masks"]

# An image's grey values are more, and have wider gaps, than classes and ids.
_MOST_CLASSES = 20
_LEAST_FILLED = 0.25


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
        masks = check_masks(y, images, caller=name)
    _check_planes(masks, name)
    if not any((ids_of(mask) >= 0).any() for mask in masks):
        raise ValueError(f"{name}: all pixels of all masks are unknown (-1).")
    if not any((ids_of(mask) > 0).any() for mask in masks):
        warn_user(
            f"{name}: no mask holds an object; the network learns background only.",
            TrainingWarning,
        )
    # Ids without gaps: tables by id stay as small as the masks.
    return [_dense(mask) for mask in masks]


def class_planes(masks: list[np.ndarray]) -> list[np.ndarray] | None:
    """Return the planes of classes, or None where there are none."""
    if masks[0].ndim == 2:
        return None
    return [mask[..., 1] for mask in masks]


def refuse_forgotten_classes(X, label_channel: int, name: str) -> None:
    """Refuse stacks of ids and classes of which only one was named as labels.

    The other would be an input of the network and tell it the labels. A channel is
    taken for it only where it agrees with the labels object by object, in all images.

    Parameters
    ----------
    X : images
        Nothing is said of those that are no images for another reason.
    label_channel : int
        The only channel of labels that was named.
    name : str
        The estimator's.

    Raises
    ------
    ValueError
        If another channel holds ids or classes of the same objects.

    Warns
    -----
    UserWarning
        If there would be one class only: a mask that is meant as an input, or an
        image that was cut to a mask, looks alike.
    """
    try:
        images = X.as_given() if isinstance(X, StandardisedBatch) else X
        if not isinstance(X, ImageBatch):
            images = check_images(X, value_range=None, label_channel=label_channel)
    except (TypeError, ValueError):
        return
    n_channels = images.n_channels
    label = label_channel % n_channels
    others = [i for i in range(n_channels) if i != label]
    # Ids come before classes, should both orders fit.
    pairs = sorted([(i, label) for i in others] + [(label, i) for i in others])
    for ids, classes in pairs:
        n_ids, n_classes = _count_pairs(images, ids, classes, ids == label)
        if not n_classes or (ids != label and n_ids <= n_classes):
            continue
        what, leaks = ("classes", classes) if ids == label else ("ids", ids)
        text = (
            f"{name}: channel {leaks - n_channels} of X seems to hold the {what} of "
            f"the objects in label_channel={label_channel}, and would show the network "
            f"what it is to learn. Pass label_channel={ids - n_channels}, "
            f"class_channel={classes - n_channels}, as for the stacks of "
            "SemanticClusterer(classes=...), or leave that channel out."
        )
        if n_classes > 1:
            raise ValueError(text)
        warn_user(text, TrainingWarning)


def _count_pairs(
    images: ImageBatch, ids: int, classes: int, is_known: bool
) -> tuple[int, int]:
    """Return the most ids of an image and the highest class; 0 where they do not fit.

    Parameters
    ----------
    is_known : bool
        Whether `ids` is known to hold ids; some may be of class 0, unknown, then.
    """
    n_ids, n_classes = 0, 0
    for i in range(len(images)):
        planes = images.stored(i)
        plane, kinds = planes[..., ids], planes[..., classes]
        inside = plane > 0
        stray = kinds > 0
        # Told of nearly all images at once, before anything is sorted.
        if (stray & ~inside).any() or not (is_known or (stray == inside).all()):
            return 0, 0
        numbers, kinds = plane[inside], kinds[inside]
        if not (_are_whole(numbers) and _are_whole(kinds)):
            return 0, 0
        if not numbers.size:
            continue
        highest, last = int(kinds.max()), int(numbers.max())
        if highest > _MOST_CLASSES:
            return 0, 0
        unique = np.unique(numbers)
        both = np.unique(numbers.astype(np.int64) * (highest + 1) + kinds.astype(int))
        if len(both) > len(unique):
            return 0, 0
        if not is_known and len(unique) < _LEAST_FILLED * last:
            return 0, 0
        n_ids, n_classes = max(n_ids, len(unique)), max(n_classes, highest)
    return n_ids, n_classes


def _are_whole(values: np.ndarray) -> bool:
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


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
    ids = ids_of(mask)
    dense = relabel(np.maximum(ids, 0))
    dense[ids < 0] = -1
    if mask.ndim == 2:
        return dense
    # Where there is no object there is no class, and unknown is one thing.
    classes = np.where(dense > 0, np.maximum(mask[..., 1], 0), dense)
    return np.stack([dense, classes], axis=-1)
