# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of what the estimators see and find."""

from psmlearn.inspection._activation import ActivationMapDisplay
from psmlearn.inspection._comparison import SegmentationComparisonDisplay
from psmlearn.inspection._gallery import NucleiGalleryDisplay
from psmlearn.inspection._iou_curve import PrecisionRecallIoUDisplay
from psmlearn.inspection._labelling import LabellingIndexDisplay
from psmlearn.inspection._overlay import color_map, overlay_labels
from psmlearn.inspection._report import report_html
from psmlearn.inspection._segmentation import SegmentationDisplay
from psmlearn.inspection._training import TrainingCurveDisplay

__all__ = [
    "ActivationMapDisplay",
    "LabellingIndexDisplay",
    "NucleiGalleryDisplay",
    "PrecisionRecallIoUDisplay",
    "SegmentationComparisonDisplay",
    "SegmentationDisplay",
    "TrainingCurveDisplay",
    "color_map",
    "overlay_labels",
    "report_html",
]
