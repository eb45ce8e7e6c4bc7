# SPDX-License-Identifier: BSD-3-Clause
"""Scores of the objects that match: their share, and panoptic quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from psmlearn._typing import Labels, Masks, Regions
from psmlearn.metrics._checks import Average, MaskPair, check_iou_threshold
from psmlearn.metrics._matching import largest_matching, largest_matching_size
from psmlearn.metrics._overlap import Overlap, overlap_with_ids
from psmlearn.metrics._scoring import (
    Combine,
    average_precision,
    f1,
    precision,
    recall,
    score_masks,
)
from psmlearn.metrics._texts import fill_docstring


@fill_docstring
def object_f1_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: F1 at a threshold of their overlap.

    %(objects_match)s
    The score is twice the number of matches over the number of objects in both
    masks.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_thresholds)s

    References
    ----------
    %(reference_of_objects)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_f1_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 0], [1, 1, 0, 0, 0]])
    >>> object_f1_score([true], [pred])
    0.5
    >>> object_f1_score([true], [pred], iou_threshold=[0.2, 0.5])
    array([1. , 0.5])
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.0)
    return score_matches(
        y_true, y_pred, f1, thresholds, labels, regions, average, zero_division
    )


@fill_docstring
def object_precision_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: precision at a threshold of their overlap.

    %(objects_match)s
    The score is the number of matches over the number of predicted objects.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_thresholds)s

    References
    ----------
    %(reference_of_objects)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_precision_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 0], [1, 1, 0, 0, 0]])
    >>> object_precision_score([true], [pred])
    0.5
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.0)
    return score_matches(
        y_true, y_pred, precision, thresholds, labels, regions, average, zero_division
    )


@fill_docstring
def object_recall_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: recall at a threshold of their overlap.

    %(objects_match)s
    The score is the number of matches over the number of true objects.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_thresholds)s

    References
    ----------
    %(reference_of_objects)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_recall_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 0], [1, 1, 0, 0, 0]])
    >>> object_recall_score([true], [pred])
    0.5
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.0)
    return score_matches(
        y_true, y_pred, recall, thresholds, labels, regions, average, zero_division
    )


@fill_docstring
def object_average_precision_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: average precision at a threshold of overlap.

    %(objects_match)s
    The score is the number of matches over that of matches, missed and false
    objects together. It goes by three names: average precision in Cellpose and the
    Data Science Bowl 2018 (there averaged over the thresholds 0.5, 0.55, ...,
    0.95), accuracy in StarDist, and threat score. It is not the area under a
    precision-recall curve.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_thresholds)s

    References
    ----------
    %(reference_of_objects)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_average_precision_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 0], [1, 1, 0, 0, 0]])
    >>> object_average_precision_score([true], [pred])
    0.3333...
    >>> thresholds = np.linspace(0.5, 0.95, 10).round(2)
    >>> scores = object_average_precision_score(true, pred, iou_threshold=thresholds)
    >>> float(scores.mean())
    0.3333...
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.0)
    return score_matches(
        y_true,
        y_pred,
        average_precision,
        thresholds,
        labels,
        regions,
        average,
        zero_division,
    )


@fill_docstring
def panoptic_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detection and outline of objects at once: panoptic quality (PQ).

    %(objects_match)s
    The score is the sum of the matches' IoU over half the number of objects in both
    masks, which is DQ times SQ.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold_of_panoptic)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    See Also
    --------
    detection_quality_score : DQ, the factor that tells how many objects match.
    segmentation_quality_score : SQ, the factor that tells how well they do.

    Notes
    -----
    %(notes_of_panoptic)s

    References
    ----------
    %(reference_of_panoptic)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import panoptic_quality_score
    >>> true = np.array([[1, 1, 0, 2, 2, 0, 3], [1, 1, 0, 2, 2, 0, 3]])
    >>> pred = np.array([[1, 1, 0, 2, 2, 0, 0], [1, 0, 0, 2, 2, 0, 0]])
    >>> panoptic_quality_score([true], [pred])
    0.7
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.5)
    return score_masks(
        y_true,
        y_pred,
        by_threshold(count_pq, thresholds),
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
    )


@fill_docstring
def detection_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: detection quality (DQ), also named RQ.

    %(objects_match)s
    The score is the number of matches over half the number of objects in both
    masks: their F1, one factor of panoptic quality (PQ).

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold_of_panoptic)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score_at_thresholds)s

    Raises
    ------
    %(raises_of_masks)s

    See Also
    --------
    object_f1_score : The same, defined for thresholds below 0.5 too.
    panoptic_quality_score : PQ, which is DQ times SQ.
    segmentation_quality_score : SQ, the other factor.

    Notes
    -----
    %(notes_of_panoptic)s

    References
    ----------
    %(reference_of_panoptic)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import detection_quality_score
    >>> true = np.array([[1, 1, 0, 2, 2, 0, 3], [1, 1, 0, 2, 2, 0, 3]])
    >>> pred = np.array([[1, 1, 0, 2, 2, 0, 0], [1, 0, 0, 2, 2, 0, 0]])
    >>> detection_quality_score([true], [pred])
    0.8
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.5)
    return score_matches(
        y_true, y_pred, f1, thresholds, labels, regions, average, zero_division
    )


@fill_docstring
def segmentation_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the outline of the objects found: segmentation quality (SQ).

    %(objects_match)s
    The score is the mean IoU of the matches, one factor of panoptic quality (PQ).
    Missed and false objects do not lower it.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    %(iou_threshold_of_panoptic)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image with objects of which none match
        scores 0. An array of shape (n_images, n_thresholds, n_labels)
        without the axes that do not apply: images if averaged, thresholds and
        labels if not a sequence.

    Raises
    ------
    %(raises_of_masks)s

    See Also
    --------
    panoptic_quality_score : PQ, which is DQ times SQ.
    detection_quality_score : DQ, the other factor.

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition and in
    torchmetrics; StarDist counts it as one. torchmetrics averages over the classes,
    of which the background is one. Without a match SQ is a mean over nothing: 0 here
    where there are objects, so that the worst image does not get the best score, and
    `zero_division` where there are none (0 in both).

    The product of two macro averages is not the macro average of PQ; that of the
    micro averages is the micro average of PQ.

    References
    ----------
    %(reference_of_panoptic)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import segmentation_quality_score
    >>> true = np.array([[1, 1, 0, 2, 2, 0, 3], [1, 1, 0, 2, 2, 0, 3]])
    >>> pred = np.array([[1, 1, 0, 2, 2, 0, 0], [1, 0, 0, 2, 2, 0, 0]])
    >>> segmentation_quality_score([true], [pred])
    0.875
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.5)
    return score_masks(
        y_true,
        y_pred,
        by_threshold(count_sq, thresholds),
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        combine=mean_iou,
    )


def count_pq(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Sum the matches' IoU, and count half of all objects."""
    totals = _sum_ious(table, thresholds)
    half = (table.true_areas.size + table.pred_areas.size) / 2
    return np.stack([totals, np.full(totals.shape, half)], axis=-1)


def count_sq(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    """Sum the matches' IoU, count the matches, and count all objects."""
    totals = _sum_ious(table, thresholds)
    n_objects = table.true_areas.size + table.pred_areas.size
    n_matches = count_matches(table, thresholds)
    return np.stack([totals, n_matches, np.full(totals.shape, n_objects)], axis=-1)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Divide by the matches; where objects have none, by the objects, which gives 0."""
    totals, n_matches, n_objects = np.moveaxis(counts, -1, 0)
    return np.stack([totals, np.where(n_matches > 0, n_matches, n_objects)], axis=-1)


def _sum_ious(table: Overlap, thresholds: np.ndarray) -> np.ndarray:
    ious = table.ious
    totals = [ious[ious > threshold].sum() for threshold in thresholds.flat]
    return np.reshape(totals, thresholds.shape)


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


@dataclass(frozen=True)
class ObjectMatches:
    """The objects of two masks, and which of them are the same.

    Attributes
    ----------
    true_ids, pred_ids : ndarray of int64
        Ids of all objects that count, ascending.
    partners : ndarray of shape (n_true,), int64
        Number of the predicted object (in `pred_ids`) of each true one, or -1.
    """

    true_ids: np.ndarray
    pred_ids: np.ndarray
    partners: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Ids of the predicted objects that match a true one."""
        return self.pred_ids[np.sort(self.partners[self.partners >= 0])]

    @property
    def missed(self) -> np.ndarray:
        """Ids of the true objects that no predicted one matches."""
        return self.true_ids[self.partners < 0]

    @property
    def false(self) -> np.ndarray:
        """Ids of the predicted objects that match no true one."""
        return np.setdiff1d(self.pred_ids, self.found, assume_unique=True)


def match_objects(pair: MaskPair, threshold: float) -> ObjectMatches:
    """Match objects one to one at an IoU above `threshold`, as `count_matches` does."""
    table, true_ids, pred_ids = overlap_with_ids(pair)
    close = table.ious > threshold
    rows, cols = table.rows[close], table.cols[close]
    partners = largest_matching(rows, cols, (true_ids.size, pred_ids.size))
    return ObjectMatches(true_ids, pred_ids, partners)


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
    labels: Labels | None,
    regions: Regions | None,
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
