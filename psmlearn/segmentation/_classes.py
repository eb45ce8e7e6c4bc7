# SPDX-License-Identifier: BSD-3-Clause
"""Classes of objects: which there are, how much they count, and whose is which."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from psmlearn._images._instances import centroids
from psmlearn.metrics import aggregated_jaccard_score
from psmlearn.metrics._centres import measure_objects

__all__ = [
    "class_counts",
    "class_jaccard",
    "class_places",
    "class_scores",
    "class_weights",
    "forget_unsure_classes",
    "ids_of",
    "known_classes",
    "mask_points",
]


def ids_of(mask: np.ndarray) -> np.ndarray:
    """Return the ids of a label image, with or without a plane of classes."""
    return mask if mask.ndim == 2 else mask[..., 0]


def known_classes(values: Iterable[np.ndarray]) -> np.ndarray:
    """Return the classes that occur, ascending; 0 and -1 are unknown ones."""
    found = [np.unique(each[each > 0]) for each in values]
    return np.unique(np.concatenate(found)).astype(np.int64)


def class_places(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the place of each value among `classes`, from 1; 0 of all others.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.segmentation._classes import class_places
    >>> class_places(np.array([5, 0, 2, -1, 3]), np.array([2, 5])).tolist()
    [2, 0, 1, 0, 0]
    """
    places = np.searchsorted(classes, values)
    known = classes[np.minimum(places, len(classes) - 1)] == values
    return np.where(known, places + 1, 0).astype(np.int32)


def class_counts(places: Iterable[np.ndarray], n_classes: int) -> np.ndarray:
    """Count how often each place (from 1) occurs in some arrays."""
    counts = np.zeros(n_classes + 1, np.int64)
    for each in places:
        counts += np.bincount(each.ravel(), minlength=n_classes + 1)
    return counts[1:]


def class_weights(
    class_weight: str | dict | None, classes: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the weight of each class in the loss, float32.

    Parameters
    ----------
    class_weight : {"balanced", "sqrt"}, dict or None
        "balanced" is the inverse of how often a class occurs, "sqrt" the square
        root of that, both 1 on average over all that occur; a dict gives weights by
        class, 1 to those that it leaves out.
    classes : ndarray of shape (n_classes,)
    counts : ndarray of shape (n_classes,)
        How often each class occurs.

    Raises
    ------
    ValueError
        If a dict holds a class that does not occur, or no sound weight.
    """
    if class_weight is None:
        return np.ones(len(classes), np.float32)
    if not isinstance(class_weight, dict):
        present = counts > 0
        known = np.where(present, counts, 1)
        weights = 1 / (np.sqrt(known) if class_weight == "sqrt" else known)
        weights *= counts.sum() / max(weights @ counts, 1e-12)
        # A class that these images lack (warm start) is not what is rare in them.
        return np.where(present, weights, 1).astype(np.float32)
    strangers = sorted(set(class_weight) - set(classes.tolist()))
    if strangers:
        raise ValueError(
            f"class_weight holds the classes {strangers}, but the objects are of the "
            f"classes {classes.tolist()}."
        )
    weights = np.array([class_weight.get(c, 1.0) for c in classes.tolist()], float)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(
            f"class_weight={class_weight}: finite weights above 0 are expected; to "
            "leave a class out, set its objects to class 0 in the masks."
        )
    return weights.astype(np.float32)


def class_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Sum the class probabilities over the pixels of each object.

    Parameters
    ----------
    labels : ndarray of shape (height, width), int
        Ids 1..n.
    probabilities : ndarray of shape (height, width, n_classes)

    Returns
    -------
    scores : ndarray of shape (n, n_classes), float64
    """
    places = np.flatnonzero(labels)
    ids = labels.ravel()[places]
    n_objects = int(ids.max()) if len(ids) else 0
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    scores = [
        np.bincount(ids, weights=flat[places, k], minlength=n_objects + 1)
        for k in range(flat.shape[1])
    ]
    return np.stack(scores, axis=1)[1:]


def mask_points(mask: np.ndarray) -> np.ndarray:
    """Return the centroids of the objects, with the class where there are classes.

    Returns
    -------
    points : ndarray of shape (n_objects, 2 or 3), float64
        In the order of ascending ids; an object is of the class of most of its
        pixels.
    """
    if mask.ndim == 2:
        return centroids(mask)
    points, classes = measure_objects(mask, "mask")
    return np.column_stack([points] if classes is None else [points, classes])


def class_jaccard(true: list, pred: list, classes: np.ndarray | None) -> float:
    """Return the aggregated Jaccard index, with classes their mean.

    Images without a class in either mask do not count for it, nor do classes that
    are nowhere; 1 where nothing is left.
    """
    if classes is None or true[0].ndim == 2:
        return float(aggregated_jaccard_score(true, pred))
    scores = np.asarray(
        aggregated_jaccard_score(
            true, pred, labels=classes.tolist(), zero_division=np.nan
        )
    )
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else 1.0


def forget_unsure_classes(masks: list, probabilities: list, margin: float) -> None:
    """Set the class of objects to 0, unknown, where it is not clear; in place.

    Parameters
    ----------
    masks : list of ndarray of shape (height, width, 2), int32
        As predicted; masks without classes are left alone.
    probabilities : list of ndarray of shape (height, width, 1 + n_classes)
    margin : float
        How much likelier than the next the class of an object must be. A class that
        would lose all its objects keeps them.
    """
    if masks[0].ndim == 2:
        return
    unsure, kept = [], set()
    for mask, proba in zip(masks, probabilities, strict=True):
        scores = class_scores(mask[..., 0], proba[..., 1:])
        best = np.sort(scores, axis=1)[:, -2:]
        gap = best[:, -1] - (best[:, 0] if scores.shape[1] > 1 else 0)
        doubted = np.append(False, gap < margin * scores.sum(axis=1))
        unsure.append(doubted[mask[..., 0]])
        kept.update(np.unique(mask[..., 1][~unsure[-1]]).tolist())
    for mask, doubted in zip(masks, unsure, strict=True):
        mask[..., 1][doubted & np.isin(mask[..., 1], list(kept))] = 0
