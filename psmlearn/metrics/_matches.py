# SPDX-License-Identifier: BSD-3-Clause
"""Counts of the objects that match, for the scores that need no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from psmlearn.metrics._matching import largest_matching_size
from psmlearn.metrics._overlap import Overlap


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


def count_f1(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count matches twice, and all objects."""
    total = table.true_areas.size + table.pred_areas.size
    return _over(2 * count_matches(table, thresholds), total)


def count_precision(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count matches, and predicted objects."""
    return _over(count_matches(table, thresholds), table.pred_areas.size)


def count_recall(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count matches, and true objects."""
    return _over(count_matches(table, thresholds), table.true_areas.size)


def count_average_precision(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Count matches, and objects of which the two of a match count once."""
    n_matches = count_matches(table, thresholds)
    total = table.true_areas.size + table.pred_areas.size
    return _over(n_matches, total - n_matches)


def _over(numerators: np.ndarray, denominators: np.ndarray | int) -> np.ndarray:
    return np.stack([numerators, np.broadcast_to(denominators, numerators.shape)], -1)
