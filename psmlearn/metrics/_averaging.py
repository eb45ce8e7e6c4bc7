# SPDX-License-Identifier: BSD-3-Clause
"""From the counts of each image to a score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from psmlearn.metrics._checks import Average


def average_scores(
    counts: ArrayLike,
    average: Average,
    zero_division: float,
    combine: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float | np.ndarray:
    """Divide counts and average the quotients over the images.

    Parameters
    ----------
    counts : array-like of shape (n_images, ..., 2)
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
