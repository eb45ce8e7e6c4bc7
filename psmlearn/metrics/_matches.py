# SPDX-License-Identifier: BSD-3-Clause
"""Counts of the objects that match, for the scores that need no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from psmlearn.metrics._checks import Average, Labels, Masks, Regions
from psmlearn.metrics._matching import largest_matching_size
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import Combine, score_masks


def by_threshold(
    count: Callable[[Overlap, np.ndarray], np.ndarray], thresholds: np.ndarray
) -> Callable[[Overlap], np.ndarray]:
    """Make of a count of tables and thresholds one of tables alone."""

    def count_table(table: Overlap) -> np.ndarray:
        return count(table, thresholds)

    return count_table


def count_matches(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count the matches at each threshold; the result has the thresholds' shape."""
    ious = table.ious
    numbers = np.empty(thresholds.size)
    for index, threshold in enumerate(thresholds.flat):
        close = ious > threshold
        if threshold < 0.5:
            numbers[index] = largest_matching_size(
                table.rows[close],
                table.cols[close],
                (table.true_areas.size, table.pred_areas.size),
            )
        else:
            numbers[index] = np.count_nonzero(close)
    return numbers.reshape(thresholds.shape)


def count_objects(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count matches, true and predicted objects, as the shares take them."""
    n_matches = count_matches(table, thresholds)
    numbers = (table.true_areas.size, table.pred_areas.size)
    return np.stack([n_matches, *(np.full_like(n_matches, n) for n in numbers)], -1)


def score_matches(
    y_true: Masks,
    y_pred: Masks,
    share: Combine,
    thresholds: np.ndarray,
    labels: Labels,
    regions: Regions,
    average: Average,
    zero_division: float,
) -> float | np.ndarray:
    """Score masks by a share of the objects that match."""
    return score_masks(
        y_true,
        y_pred,
        by_threshold(count_objects, thresholds),
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        combine=share,
    )
