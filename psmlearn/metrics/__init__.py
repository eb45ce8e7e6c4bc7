# SPDX-License-Identifier: BSD-3-Clause
"""Scores of segmentations and detections, and scorers for scikit-learn's searches."""

from psmlearn.metrics._counts import count_error
from psmlearn.metrics._detection import (
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
)
from psmlearn.metrics._glas import object_dice_score, object_iou_score
from psmlearn.metrics._hausdorff import hausdorff_distance
from psmlearn.metrics._jaccard import aggregated_jaccard_score
from psmlearn.metrics._objects import (
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
)
from psmlearn.metrics._panoptic import (
    detection_quality_score,
    panoptic_quality_score,
    segmentation_quality_score,
)
from psmlearn.metrics._pixels import dice_score, iou_score
from psmlearn.metrics._point_matching import match_points
from psmlearn.metrics._report import segmentation_report
from psmlearn.metrics._scorer import (
    aji_plus_scorer,
    aji_scorer,
    detection_f1_scorer,
    detection_precision_scorer,
    detection_recall_scorer,
    dice_scorer,
    dq_scorer,
    get_scorer,
    get_scorer_names,
    iou_scorer,
    neg_count_error_scorer,
    neg_hausdorff_scorer,
    object_average_precision_scorer,
    object_dice_scorer,
    object_f1_scorer,
    object_iou_scorer,
    object_precision_scorer,
    object_recall_scorer,
    pq_scorer,
    sq_scorer,
)
from psmlearn.metrics._unsupervised import (
    OutlineScorer,
    SilhouetteScorer,
    StabilityScorer,
    outline_scorer,
    silhouette_scorer,
    stability_scorer,
)

__all__ = [
    "OutlineScorer",
    "SilhouetteScorer",
    "StabilityScorer",
    "aggregated_jaccard_score",
    "aji_plus_scorer",
    "aji_scorer",
    "count_error",
    "detection_f1_score",
    "detection_f1_scorer",
    "detection_precision_score",
    "detection_precision_scorer",
    "detection_quality_score",
    "detection_recall_score",
    "detection_recall_scorer",
    "dice_score",
    "dice_scorer",
    "dq_scorer",
    "get_scorer",
    "get_scorer_names",
    "hausdorff_distance",
    "iou_score",
    "iou_scorer",
    "match_points",
    "neg_count_error_scorer",
    "neg_hausdorff_scorer",
    "object_average_precision_score",
    "object_average_precision_scorer",
    "object_dice_score",
    "object_dice_scorer",
    "object_f1_score",
    "object_f1_scorer",
    "object_iou_score",
    "object_iou_scorer",
    "object_precision_score",
    "object_precision_scorer",
    "object_recall_score",
    "object_recall_scorer",
    "outline_scorer",
    "panoptic_quality_score",
    "pq_scorer",
    "segmentation_quality_score",
    "segmentation_report",
    "silhouette_scorer",
    "sq_scorer",
    "stability_scorer",
]
