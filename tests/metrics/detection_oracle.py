# SPDX-License-Identifier: BSD-3-Clause
"""Matching of points once more, from its definition, by trying everything."""

import math


def best_matching(true, pred, radius):
    """Give the most pairs that there can be, and their least total distance."""
    if not len(true):
        return 0, 0.0
    first, rest = true[0], true[1:]
    best = best_matching(rest, pred, radius)
    for index, point in enumerate(pred):
        distance = math.dist(first[:2], point[:2])
        if distance <= radius:
            left = [*pred[:index], *pred[index + 1 :]]
            n_pairs, total = best_matching(rest, left, radius)
            found = n_pairs + 1, total + distance
            best = min(best, found, key=lambda each: (-each[0], each[1]))
    return best


def scores(true, pred, radius):
    """Give precision, recall and F1: 0 where one side is empty, 1 where both are."""
    n_pairs, _ = best_matching(list(true), list(pred), radius)
    if not len(true) or not len(pred):
        return (0.0 if len(true) or len(pred) else 1.0,) * 3
    n_both = len(true) + len(pred)
    return n_pairs / len(pred), n_pairs / len(true), 2 * n_pairs / n_both
