# SPDX-License-Identifier: BSD-3-Clause
"""The silhouette of two groups of numbers, in the time of a sort."""

from __future__ import annotations

import numpy as np


def silhouette_of_two(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean silhouette of two groups of numbers; -1 if one is empty.

    Equal to `sklearn.metrics.silhouette_score` of them, without its table of all
    distances. A group of one member has the silhouette 0, as there.
    """
    if not first.size or not second.size:
        return -1.0
    groups = [np.sort(group).astype(np.float64) for group in (first, second)]
    total = 0.0
    for own, other in (groups, groups[::-1]):
        if own.size == 1:
            continue
        within = _summed_distances(own, own) / (own.size - 1)
        between = _summed_distances(own, other) / other.size
        largest = np.maximum(within, between)
        largest[largest == 0] = 1
        total += float(((between - within) / largest).sum())
    return total / (first.size + second.size)


def _summed_distances(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sum the distances of each value to a sorted group."""
    sums = np.concatenate([[0.0], np.cumsum(group)])
    n_below = np.searchsorted(group, values)
    below = values * n_below - sums[n_below]
    above = sums[-1] - sums[n_below] - values * (group.size - n_below)
    return np.maximum(below + above, 0)
