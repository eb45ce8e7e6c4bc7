# SPDX-License-Identifier: BSD-3-Clause
"""Labels of whole images: binary, of several classes, or several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.recfunctions import structured_to_unstructured

__all__ = ["LabelCode", "as_image_labels", "label_names", "learn_labels"]


def label_names(labels) -> tuple[str, ...]:
    """Return what the columns of labels are called, where they have names.

    Those of a table with `columns`, as pandas has it, and of a structured array.
    """
    names = getattr(getattr(labels, "dtype", None), "names", None)
    if names is None:
        names = getattr(labels, "columns", ())
    found = tuple(names)
    named = all(isinstance(name, str) for name in found)
    return found if named and len(set(found)) == len(found) else ()


def as_image_labels(labels, n_images: int, caller: str) -> np.ndarray:
    """Check image labels and return them as an array.

    Parameters
    ----------
    labels : array-like of shape (n_images,) or (n_images, n_classes)
        One label an image, numbers or strings; or 0 and 1 for each class.
    n_images : int
        Number of images that they are for.
    caller : str
        Name put before errors.

    Returns
    -------
    ndarray of shape (n_images,), or (n_images, n_classes) bool

    Raises
    ------
    ValueError
        If they are masks, of another number, missing, or no labels.
    """
    if labels is None:
        raise ValueError(
            f"{caller}: image labels are needed, one an image: fit(X, labels), or "
            "fit(X, masks, image_labels=labels) where y is taken by masks, and for "
            "PseudoLabelSegmenter, which hands no y on."
        )
    try:
        array = np.asarray(labels)
        if array.dtype.names is not None:
            array = structured_to_unstructured(array)
        if array.dtype.kind in "US" and not isinstance(labels, np.ndarray):
            array = np.asarray(labels, dtype=object)  # NaN is no string
    except ValueError:  # a ragged list
        array = np.empty(0, object).reshape(0, 0, 0)
    if array.ndim > 2:
        raise ValueError(
            f"{caller}: one label an image is expected, got masks or images (shape "
            f"{getattr(array, 'shape', ())}); pass the labels of the images, such as "
            "[int(mask.any()) for mask in masks], or fit(X, masks, image_labels=...)."
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0 or len(array) != n_images:
        n_labels = 1 if array.ndim == 0 else len(array)
        raise ValueError(
            f"{caller}: {n_labels} image labels were given for {n_images} images; "
            "exactly one an image is expected."
        )
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(array).reshape(n_images, -1).all(axis=1))
        if len(wrong):
            raise ValueError(
                f"{caller}: the label of image {wrong[0]} is {array[wrong[0]]}; a "
                "label is needed for each image (leave the others out)."
            )
        if (array != np.rint(array)).any():
            raise ValueError(
                f"{caller}: image labels are classes, got numbers such as "
                f"{array[array != np.rint(array)][0]:g}; expected integers or strings."
            )
        array = array.astype(np.int64)
    if array.dtype.kind == "O":
        array = _of_one_kind(array, caller)
    if array.ndim == 2:
        if array.dtype.kind not in "iub" or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"{caller}: labels of shape {array.shape} say for each class whether "
                "the image shows it; expected only 0 and 1."
            )
        array = array.astype(bool)
    return array


def _of_one_kind(array: np.ndarray, caller: str) -> np.ndarray:
    """Turn Python objects into numbers or strings; missing ones are refused."""
    for index, value in enumerate(array.flat):
        # None, NaN and the missing values of pandas, none of which equals itself.
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            missing = True
        else:
            missing = bool(value != value)
        if missing:
            raise ValueError(
                f"{caller}: the label of image {index} is missing ({value}); leave the "
                "image out."
            )
    kinds = {type(value) for value in array.flat}
    return np.array(array.tolist()) if len(kinds) == 1 else array.astype(str)


@dataclass(frozen=True)
class LabelCode:
    """What labels mean: which are classes with a map, and which is none.

    Attributes
    ----------
    classes : ndarray of shape (n_labels,)
        All labels in ascending order; of labels of several at once the names of their
        columns, or their numbers.
    negative : object
        The label of images without any object, None if there is none.
    exclusive : bool
        Whether an image shows one class at most.
    """

    classes: np.ndarray
    negative: object
    exclusive: bool

    @property
    def shown(self) -> np.ndarray:
        """The classes that have a map, (n_classes,)."""
        if self.negative is None:
            return self.classes
        return self.classes[self.classes != self.negative]

    def presence(self, labels: np.ndarray, caller: str) -> np.ndarray:
        """Tell which classes each image shows, (n_images, n_classes) float32."""
        if not self.exclusive:
            if labels.ndim != 2 or labels.shape[1] != len(self.classes):
                raise ValueError(
                    f"{caller}: labels of shape (n_images, {len(self.classes)}) are "
                    f"expected, as in fit, got {labels.shape}."
                )
            return labels.astype(np.float32)
        unknown = np.setdiff1d(labels.ravel(), self.classes)
        if labels.ndim != 1 or len(unknown):
            raise ValueError(
                f"{caller}: labels among {self.classes.tolist()} are expected, one an "
                f"image, got {unknown.tolist()[:5] or labels.shape}."
            )
        return (labels[:, None] == self.shown).astype(np.float32)

    def weights(self, presence: np.ndarray) -> np.ndarray:
        """Return how much images count in training, by what they show: rare more.

        Of shape (1 + n_classes,), background first, where classes exclude each
        other; else (2, n_classes), for absence and presence.
        """
        if self.exclusive:
            none = (presence == 0).all(axis=1, keepdims=True)
            counts = np.concatenate([none, presence], axis=1).sum(axis=0)
        else:
            counts = np.stack([(1 - presence).sum(axis=0), presence.sum(axis=0)])
        n_kinds = (counts > 0).sum(axis=0)
        total = counts.sum(axis=0)
        weights = total / np.maximum(n_kinds * counts, 1)
        return np.where(counts > 0, weights, 0).astype(np.float32)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits (n, n_levels, 1 + n_classes) into what `classes` are told."""
        told = torch.from_numpy(logits)
        if not self.exclusive:
            return torch.sigmoid(told[..., 1:] - told[..., :1]).mean(1).numpy()
        if self.negative is None:
            return told[..., 1:].softmax(-1).mean(1).numpy()
        found = told.softmax(-1).mean(1).numpy()
        # The background comes first in the network, the negative label in its place.
        order = np.r_[
            np.flatnonzero(self.classes == self.negative),
            np.flatnonzero(self.classes != self.negative),
        ]
        placed = np.empty_like(found)
        placed[:, order] = found
        return placed

    def told(self, logits: np.ndarray) -> np.ndarray:
        """Tell which classes with maps images show, (n_images, n_classes) bool."""
        found = self.probabilities(logits)
        if not self.exclusive:
            return found > 0.5
        likeliest = self.classes[found.argmax(axis=1)]
        return likeliest[:, None] == self.shown


def learn_labels(
    labels: np.ndarray, negative_label, caller: str, names: Sequence[str] = ()
) -> LabelCode:
    """Learn from checked training labels what they mean.

    `names` are those of columns, of which there may be none.

    Raises
    ------
    ValueError
        If all images have one label, or `negative_label` is not among them or cannot
        be guessed.
    """
    if labels.ndim == 2:
        n_classes = labels.shape[1]
        named = np.array(names if len(names) == n_classes else range(n_classes))
        shares = labels.mean(axis=0)
        constant = np.flatnonzero((shares == 0) | (shares == 1))
        if len(constant):
            which = "all" if shares[constant[0]] == 1 else "none"
            raise ValueError(
                f"{caller}: class {named[constant[0]]} is shown by {which} of the "
                f"{len(labels)} images; images with and without it are needed."
            )
        return LabelCode(named, None, False)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"{caller}: all {len(labels)} images have the label "
            f"{classes.tolist()[0]!r}; images with and without the object are needed."
        )
    return LabelCode(classes, _negative(classes, negative_label, caller), True)


def _negative(classes: np.ndarray, negative_label, caller: str):
    if negative_label is None:
        if len(classes) == 2:
            raise ValueError(
                f"{caller}: of two labels, {classes.tolist()}, one must be that of "
                "images without any object; say which by negative_label."
            )
        return None
    if isinstance(negative_label, str) and negative_label == "auto":
        if classes.dtype.kind not in "iub":
            raise ValueError(
                f"{caller}: which of the labels {classes.tolist()} is that of images "
                "without any object? Say so by negative_label (None if there is none)."
            )
        if len(classes) == 2:
            return classes[0]
        return classes[classes == 0][0] if (classes == 0).any() else None
    found = classes[:0]
    if not isinstance(negative_label, list | tuple) and np.ndim(negative_label) == 0:
        found = classes[classes == negative_label]
    if not len(found):
        raise ValueError(
            f"{caller}: negative_label={negative_label!r} is not among the labels "
            f"{classes.tolist()}."
        )
    return found[0]
