# SPDX-License-Identifier: BSD-3-Clause
"""The scores as scikit-learn scorers, for searches and cross-validation."""

from __future__ import annotations

import copy
from collections.abc import Callable

from sklearn.metrics import make_scorer

from psmlearn.metrics._areas import (
    aggregated_jaccard_score,
    dice_score,
    iou_score,
    object_dice_score,
    object_iou_score,
)
from psmlearn.metrics._detection import (
    count_error,
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
)
from psmlearn.metrics._hausdorff import hausdorff_distance
from psmlearn.metrics._objects import (
    detection_quality_score,
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
)
from psmlearn.metrics._unsupervised import (
    outline_scorer,
    silhouette_scorer,
    stability_scorer,
)


def _make(score: Callable, **options) -> Callable[..., float]:
    return make_scorer(score, response_method="predict", **options)


aji_scorer = _make(aggregated_jaccard_score)
aji_plus_scorer = _make(aggregated_jaccard_score, one_to_one=True)
detection_f1_scorer = _make(detection_f1_score)
detection_precision_scorer = _make(detection_precision_score)
detection_recall_scorer = _make(detection_recall_score)
dice_scorer = _make(dice_score)
dq_scorer = _make(detection_quality_score)
iou_scorer = _make(iou_score)
neg_count_error_scorer = _make(count_error, greater_is_better=False)
neg_hausdorff_scorer = _make(hausdorff_distance, greater_is_better=False)
object_average_precision_scorer = _make(object_average_precision_score)
object_dice_scorer = _make(object_dice_score)
object_f1_scorer = _make(object_f1_score)
object_iou_scorer = _make(object_iou_score)
object_precision_scorer = _make(object_precision_score)
object_recall_scorer = _make(object_recall_score)
pq_scorer = _make(panoptic_quality_score)
sq_scorer = _make(segmentation_quality_score)

_SCORERS: dict[str, Callable[..., float]] = {
    "aji": aji_scorer,
    "aji_plus": aji_plus_scorer,
    "detection_f1": detection_f1_scorer,
    "detection_precision": detection_precision_scorer,
    "detection_recall": detection_recall_scorer,
    "dice": dice_scorer,
    "dq": dq_scorer,
    "iou": iou_scorer,
    "neg_count_error": neg_count_error_scorer,
    "neg_hausdorff": neg_hausdorff_scorer,
    "object_average_precision": object_average_precision_scorer,
    "object_dice": object_dice_scorer,
    "object_f1": object_f1_scorer,
    "object_iou": object_iou_scorer,
    "object_precision": object_precision_scorer,
    "object_recall": object_recall_scorer,
    "outline": outline_scorer,
    "pq": pq_scorer,
    "silhouette": silhouette_scorer,
    "sq": sq_scorer,
    "stability": stability_scorer,
}


def get_scorer(name: str) -> Callable[..., float]:
    """Get a scorer by its name.

    Parameters
    ----------
    name : str
        One of `get_scorer_names`.

    Returns
    -------
    callable
        A copy of the scorer: called as ``scorer(estimator, images, masks)``, it
        predicts the images and gives the macro average. Higher is better: errors
        and distances, whose names begin with ``neg_``, come with a minus. "outline",
        "silhouette" and "stability" look at the images alone and need no masks.

    Raises
    ------
    ValueError
        If there is no scorer of that name.
    TypeError
        If the name is no str.

    Notes
    -----
    Other parameters, or one class, make a scorer of one's own, as in the example:
    with ``zero_division=numpy.nan``, so that images without the class do not lift
    its mean.

    Examples
    --------
    >>> from psmlearn.metrics import get_scorer, object_f1_score
    >>> get_scorer("aji_plus")
    make_scorer(aggregated_jaccard_score, ..., one_to_one=True)
    >>> scoring = {name: get_scorer(name) for name in ("aji", "pq", "dice")}
    >>> import numpy as np
    >>> from sklearn.metrics import make_scorer
    >>> scoring["tumour_f1"] = make_scorer(
    ...     object_f1_score,
    ...     response_method="predict",
    ...     labels=1,
    ...     zero_division=np.nan,
    ... )
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, one scorer's name; got {name!r}.")
    if name not in _SCORERS:
        raise ValueError(
            f"There is no scorer of the name {name!r}; known are {get_scorer_names()}."
        )
    return copy.deepcopy(_SCORERS[name])


def get_scorer_names() -> list[str]:
    """Get the names of all scorers, sorted.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from psmlearn.metrics import get_scorer_names
    >>> [name for name in get_scorer_names() if name.startswith("neg_")]
    ['neg_count_error', 'neg_hausdorff']
    """
    return sorted(_SCORERS)
