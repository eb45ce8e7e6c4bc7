# SPDX-License-Identifier: BSD-3-Clause
"""From masks to tables of overlaps, from counts to averaged scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from psmlearn._typing import Labels, Masks, Regions
from psmlearn.metrics._checks import (
    Average,
    MaskPair,
    check_average,
    check_labels,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._overlap import Overlap, checked_runs, overlap, overlap_by_class

Count = Callable[[Overlap], np.ndarray]
Combine = Callable[[np.ndarray], np.ndarray]


def score_masks(
    y_true: Masks,
    y_pred: Masks,
    count: Count,
    *,
    labels: Labels | None,
    regions: Regions | None,
    average: Average,
    zero_division: float,
    combine: Combine | None = None,
    binary: bool = False,
) -> float | np.ndarray:
    """Score masks by what `count` finds in their tables of overlaps.

    Parameters
    ----------
    y_true, y_pred : label images
        A list of them, a stack, or one alone.
    count : callable
        Takes the table of an image, gives an array of shape (..., n_counts), as
        `average_scores` takes them.
    labels, regions, average, zero_division
        As in every score.
    combine : callable, default=None
        As in `average_scores`.
    binary : bool, default=False
        Whether boolean and 0/255 masks will do.

    Returns
    -------
    float or ndarray of shape (n_images, ..., n_labels)
        Without the first axis where images are averaged, and without the last
        where `labels` is no sequence.
    """
    check_average(average)
    zero_division = check_zero_division(zero_division)
    classes, is_scalar = check_labels(labels)
    pairs = check_pairs(
        y_true, y_pred, binary=binary, classes=classes is not None, regions=regions
    )
    tables = (tables_of(pair, classes) for pair in pairs)
    counts = [[count(table) for table in row] for row in tables]
    return average_scores(
        stack_counts(counts, is_scalar), average, zero_division, combine
    )


def tables_of(pair: MaskPair, classes: list[int] | None) -> list[Overlap]:
    """List the tables of one image, one for each class, or that of all objects.

    An object has one class; where objects are not told apart, each pixel has its own.
    """
    if classes is None:
        return [overlap(pair)]
    return overlap_by_class(checked_runs(pair), classes, by_object=not pair.binary)


def stack_counts(counts: Sequence[Sequence[Any]], is_scalar: bool) -> np.ndarray:
    """Bring counts by image and class into shape (n_images, ..., n_labels, n)."""
    stacked = np.moveaxis(np.array(counts, dtype=np.float64), 1, -2)
    return stacked[..., 0, :] if is_scalar else stacked


def average_scores(
    counts: np.ndarray,
    average: Average,
    zero_division: float,
    combine: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float | np.ndarray:
    """Divide counts and average the quotients over the images.

    Parameters
    ----------
    counts : ndarray of shape (n_images, ..., 2)
        Numerator and denominator, on the last axis, of each image. The axes
        between (thresholds, labels) stay.
    average : {"macro", "micro"} or None
        "macro" is the mean of the images' quotients, "micro" the quotient of the
        sums over the images, None all the quotients.
    zero_division : float
        Quotient where the denominator is 0. NaN is left out of macro means.
    combine : callable, default=None
        For scores that are no plain quotient of sums: makes of counts of shape
        (n, ..., n_counts), those of an image or the sums over all, the numerators
        and denominators of shape (n, ..., 2).

    Returns
    -------
    float or ndarray
        Of shape (n_images, ...) with `average=None`, else (...); a float where that
        is ().
    """
    counts = np.asarray(counts, dtype=np.float64)
    if average == "micro":
        counts = counts.sum(axis=0, keepdims=True)
    if combine is not None:
        counts = combine(counts)
    scores = np.full(counts.shape[:-1], float(zero_division))
    np.divide(counts[..., 0], counts[..., 1], out=scores, where=counts[..., 1] > 0)
    if average is None:
        return scores
    scores = mean_of_known(scores)
    return float(scores) if scores.ndim == 0 else scores


def mean_of_known(scores: np.ndarray) -> np.ndarray:
    """Average over the first axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(scores)
    n_known = known.sum(axis=0)
    means = np.full(scores.shape[1:], np.nan)
    # Not numpy.nanmean, which warns where all is NaN.
    totals = np.where(known, scores, 0.0).sum(axis=0)
    return np.divide(totals, n_known, out=means, where=n_known > 0)


def f1(counts: np.ndarray) -> np.ndarray:
    """Twice the matches, over all there are in both."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([2 * n_matches, n_true + n_pred], axis=-1)


def precision(counts: np.ndarray) -> np.ndarray:
    """The matches over the predicted ones; 0 where there are true ones alone."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, np.where(n_pred > 0, n_pred, n_true)], axis=-1)


def recall(counts: np.ndarray) -> np.ndarray:
    """The matches over the true ones; 0 where there are predicted ones alone."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, np.where(n_true > 0, n_true, n_pred)], axis=-1)


def average_precision(counts: np.ndarray) -> np.ndarray:
    """The matches over all there are, of which the two of a match count once."""
    n_matches, n_true, n_pred = np.moveaxis(counts, -1, 0)
    return np.stack([n_matches, n_true + n_pred - n_matches], axis=-1)
