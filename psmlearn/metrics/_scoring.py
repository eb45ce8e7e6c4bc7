# SPDX-License-Identifier: BSD-3-Clause
"""What all scores of masks share: masks to tables of overlaps, tables to scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from psmlearn.metrics._averaging import average_scores
from psmlearn.metrics._checks import (
    Average,
    Labels,
    MaskPair,
    Masks,
    Regions,
    check_average,
    check_labels,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._overlap import Overlap, overlap, overlap_by_class

Count = Callable[[Overlap], np.ndarray]
Combine = Callable[[np.ndarray], np.ndarray]


def score_masks(
    y_true: Masks,
    y_pred: Masks,
    count: Count,
    *,
    labels: Labels,
    regions: Regions,
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
    """List the tables of one image, one for each class, or that of all objects."""
    return [overlap(pair)] if classes is None else overlap_by_class(pair, classes)


def stack_counts(counts: list[list[np.ndarray]], is_scalar: bool) -> np.ndarray:
    """Bring counts by image and class into shape (n_images, ..., n_labels, n)."""
    stacked = np.moveaxis(np.array(counts, dtype=np.float64), 1, -2)
    return stacked[..., 0, :] if is_scalar else stacked
