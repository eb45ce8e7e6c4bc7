# SPDX-License-Identifier: BSD-3-Clause
"""Scores of segmentations, and the scorers for scikit-learn's searches."""

from psmlearn.metrics._scorer import (
    aji_plus_scorer,
    aji_scorer,
    dice_scorer,
    get_scorer,
    get_scorer_names,
    object_f1_scorer,
    pq_scorer,
)
from psmlearn.metrics._segmentation import (
    aggregated_jaccard_score,
    dice_score,
    object_f1_score,
    panoptic_quality_score,
)

__all__ = [
    "aggregated_jaccard_score",
    "aji_plus_scorer",
    "aji_scorer",
    "dice_score",
    "dice_scorer",
    "get_scorer",
    "get_scorer_names",
    "object_f1_score",
    "object_f1_scorer",
    "panoptic_quality_score",
    "pq_scorer",
]
