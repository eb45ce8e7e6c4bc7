# SPDX-License-Identifier: BSD-3-Clause
"""Panoptic quality and its two factors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn.metrics._checks import (
    Average,
    Labels,
    Masks,
    Regions,
    check_iou_threshold,
)
from psmlearn.metrics._matches import by_threshold, count_matches, score_matches
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import score_masks
from psmlearn.metrics._shares import f1


def panoptic_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detection and outline of objects at once: panoptic quality (PQ).

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the sum of the matches' IoU over half the
    number of objects in both masks, which is DQ times SQ.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0.5, 1): below 0.5 an object could
        match two, for which this score is not defined.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on, of masks with classes: pixels of other classes
        are background, those of class -1 in either mask are not scored. An image
        with a class in neither mask scores `zero_division`, and lifts the macro
        mean if that is 1: take NaN, or "micro". None takes all objects and does not
        look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: pixels outside are not
        scored, objects are cut at the edge. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks is
        empty scores 0. An array of shape (n_images, n_thresholds, n_labels)
        without the axes that do not apply: images if averaged, thresholds and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    See Also
    --------
    detection_quality_score : DQ, the factor that tells how many objects match.
    segmentation_quality_score : SQ, the factor that tells how well they do.

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition and in
    torchmetrics; StarDist counts it as one. Both score an image without objects 0.
    torchmetrics averages over the classes, of which the background is one, and
    forgives unmatched objects of which more than half is unknown.

    References
    ----------
    .. [1] A. Kirillov et al., "Panoptic Segmentation", CVPR 2019.

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


def detection_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: detection quality (DQ), also named RQ.

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the number of matches over half the number
    of objects in both masks: their F1, one factor of panoptic quality (PQ).

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0.5, 1): below 0.5 an object could
        match two, for which this score is not defined.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on, of masks with classes: pixels of other classes
        are background, those of class -1 in either mask are not scored. An image
        with a class in neither mask scores `zero_division`, and lifts the macro
        mean if that is 1: take NaN, or "micro". None takes all objects and does not
        look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: pixels outside are not
        scored, objects are cut at the edge. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks is
        empty scores 0. An array of shape (n_images, n_thresholds, n_labels)
        without the axes that do not apply: images if averaged, thresholds and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    See Also
    --------
    object_f1_score : The same, defined for thresholds below 0.5 too.
    panoptic_quality_score : PQ, which is DQ times SQ.
    segmentation_quality_score : SQ, the other factor.

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition and in
    torchmetrics; StarDist counts it as one. Both score an image without objects 0.
    torchmetrics averages over the classes, of which the background is one, and
    forgives unmatched objects of which more than half is unknown.

    References
    ----------
    .. [1] A. Kirillov et al., "Panoptic Segmentation", CVPR 2019.

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


def segmentation_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the outline of the objects found: segmentation quality (SQ).

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the mean IoU of the matches, one factor of
    panoptic quality (PQ). Missed and false objects do not lower it.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0.5, 1): below 0.5 an object could
        match two, for which this score is not defined.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on, of masks with classes: pixels of other classes
        are background, those of class -1 in either mask are not scored. An image
        with a class in neither mask scores `zero_division`, and lifts the macro
        mean if that is 1: take NaN, or "micro". None takes all objects and does not
        look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: pixels outside are not
        scored, objects are cut at the edge. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image with objects of which none match
        scores 0. An array of shape (n_images, n_thresholds, n_labels)
        without the axes that do not apply: images if averaged, thresholds and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

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
    .. [1] A. Kirillov et al., "Panoptic Segmentation", CVPR 2019.

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
