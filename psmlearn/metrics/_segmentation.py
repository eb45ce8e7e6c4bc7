# SPDX-License-Identifier: BSD-3-Clause
"""Scores of a segmentation against the true label images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from psmlearn.metrics._checks import (
    Average,
    Masks,
    check_average,
    check_iou_threshold,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._matching import heaviest_matching, largest_matching_size
from psmlearn.metrics._overlap import Overlap, overlap


def dice_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the foreground pixels: Dice, which is their F1.

    Twice the pixels that are foreground in both, over the sum of the foreground
    pixels of each. Which object a pixel belongs to does not matter.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane, which is not looked at. Integers: 0 is
        background, any id above 0 an object, -1 unknown; boolean masks will do.
        A list of masks, which may differ in size; a stack of shape (n_images,
        height, width) or (n_images, height, width, 2); or one mask alone of shape
        (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None an array with each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no foreground in either mask. With NaN such images
        are left out of the macro mean.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks
        is empty scores 0.

    Raises
    ------
    ValueError
        If numbers or sizes of masks differ, if a mask is not of integers, holds
        values below -1 or is a 0/255 mask, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    References
    ----------
    .. [1] L. R. Dice, "Measures of the amount of ecologic association between
       species", Ecology 26(3), 1945.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import dice_score
    >>> true = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    >>> pred = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    >>> dice_score([true], [pred])
    0.8
    """

    def count(table: Overlap) -> tuple[float, float]:
        return (
            2 * table.areas.sum(),
            table.true_areas.sum() + table.pred_areas.sum(),
        )

    return _score(y_true, y_pred, count, average, zero_division, binary=True)


def aggregated_jaccard_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    one_to_one: bool = False,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the objects' pixels: the aggregated Jaccard index (AJI), or AJI+.

    Each true object is given the prediction with which its intersection over union
    (IoU) is largest. The score is the sum of the intersections over the sum of the
    unions, to which every prediction given to none adds its area, as does every
    true object that no prediction touches.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane, which is not looked at. Integers: 0 is
        background, each id above 0 an object, -1 unknown. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    one_to_one : bool, default=False
        False is Kumar's index: a prediction may be given to several true objects.
        True is AJI+: objects are matched one to one, so that the sum of IoU is as
        large as can be.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None an array with each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks
        is empty scores 0.

    Raises
    ------
    ValueError
        If numbers or sizes of masks differ, if a mask is not of integers, holds
        values below -1 or is a 0/255 mask, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    Notes
    -----
    Of predictions with equal IoU, the one with the lowest id is taken. Where several
    one-to-one matchings have the same sum of IoU, AJI+ may follow any of them.

    References
    ----------
    .. [1] N. Kumar et al., "A Dataset and a Technique for Generalized Nuclear
       Segmentation for Computational Pathology", IEEE Transactions on Medical
       Imaging 36(7), 2017.
    .. [2] S. Graham et al., "HoVer-Net: Simultaneous segmentation and classification
       of nuclei in multi-tissue histology images", Medical Image Analysis 58, 2019
       (AJI+).

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import aggregated_jaccard_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]])
    >>> aggregated_jaccard_score([true], [pred])
    0.5
    >>> merged = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    >>> aggregated_jaccard_score([true], [merged])
    0.4
    >>> aggregated_jaccard_score([true], [merged], one_to_one=True)
    0.2857...
    """
    count = _count_aji_plus if one_to_one else _count_aji
    return _score(y_true, y_pred, count, average, zero_division)


def object_f1_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float = 0.5,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: F1 at a threshold of their overlap.

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is twice the number of matches over the number
    of objects in both masks.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane, which is not looked at. Integers: 0 is
        background, each id above 0 an object, -1 unknown. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float, default=0.5
        IoU above which two objects may match, in [0, 1). From 0.5 on no object
        has two partners; below, a one-to-one matching with as many matches as
        there can be is counted.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None an array with each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks
        is empty scores 0.

    Raises
    ------
    ValueError
        If numbers or sizes of masks differ, if a mask is not of integers, holds
        values below -1 or is a 0/255 mask, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus
       Segmentation in Fluorescence Images", Cytometry Part A 95(9), 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_f1_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 0], [1, 1, 0, 0, 0]])
    >>> object_f1_score([true], [pred])
    0.5
    >>> object_f1_score([true], [pred], iou_threshold=0.2)
    1.0
    """
    check_iou_threshold(iou_threshold, lowest=0.0)

    def count(table: Overlap) -> tuple[float, float]:
        close = table.ious > iou_threshold
        n_matches = int(np.count_nonzero(close))
        if iou_threshold < 0.5:
            n_matches = largest_matching_size(
                table.rows[close],
                table.cols[close],
                (table.true_areas.size, table.pred_areas.size),
            )
        return 2 * n_matches, table.true_areas.size + table.pred_areas.size

    return _score(y_true, y_pred, count, average, zero_division)


def panoptic_quality_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float = 0.5,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detection and outline of objects at once: panoptic quality (PQ).

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the sum of the matches' IoU over half the
    number of objects in both masks.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane, which is not looked at. Integers: 0 is
        background, each id above 0 an object, -1 unknown. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float, default=0.5
        IoU above which two objects match, in [0.5, 1): below 0.5 an object could
        match two, for which PQ is not defined.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None an array with each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no object in either mask. With NaN such images are
        left out of the macro mean.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Score in [0, 1]; 1 is perfect. An image where just one of the two masks
        is empty scores 0.

    Raises
    ------
    ValueError
        If numbers or sizes of masks differ, if a mask is not of integers, holds
        values below -1 or is a 0/255 mask, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    See Also
    --------
    object_f1_score : The detection quality (DQ), one factor of PQ. PQ divided by it
        is the other, the segmentation quality (SQ).

    References
    ----------
    .. [1] A. Kirillov et al., "Panoptic Segmentation", CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import panoptic_quality_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> pred = np.array([[1, 1, 0, 2, 2], [1, 0, 0, 2, 2]])
    >>> panoptic_quality_score([true], [pred])
    0.875
    """
    check_iou_threshold(iou_threshold, lowest=0.5)

    def count(table: Overlap) -> tuple[float, float]:
        ious = table.ious
        total = ious[ious > iou_threshold].sum()
        return total, (table.true_areas.size + table.pred_areas.size) / 2

    return _score(y_true, y_pred, count, average, zero_division)


def _score(
    y_true: Masks,
    y_pred: Masks,
    count: Callable[[Overlap], tuple[float, float]],
    average: Average,
    zero_division: float,
    *,
    binary: bool = False,
) -> float | np.ndarray:
    """Average a score whose numerator and denominator `count` tells."""
    check_average(average)
    zero_division = check_zero_division(zero_division)
    pairs = check_pairs(y_true, y_pred, binary=binary)
    counts = np.array([count(overlap(pair)) for pair in pairs], dtype=np.float64)
    if average == "micro":
        counts = counts.sum(axis=0, keepdims=True)
    numerators, denominators = counts.T
    scores = np.full(len(counts), zero_division)
    np.divide(numerators, denominators, out=scores, where=denominators > 0)
    if average is None:
        return scores
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else float("nan")


def _count_aji(table: Overlap) -> tuple[float, float]:
    """Sum intersections and unions, each true object with its best prediction."""
    best = _best_of_row(table.rows, table.ious)
    return _count_matched(table, best)


def _count_aji_plus(table: Overlap) -> tuple[float, float]:
    """Sum intersections and unions of the best one-to-one matching."""
    return _count_matched(table, heaviest_matching(table.rows, table.cols, table.ious))


def _best_of_row(rows: np.ndarray, ious: np.ndarray) -> np.ndarray:
    """Find the first pair of the largest IoU in each row; rows are in order."""
    if not rows.size:
        return np.empty(0, dtype=np.intp)
    is_first = np.diff(rows, prepend=-1) > 0
    largest = np.maximum.reduceat(ious, np.flatnonzero(is_first))
    best = np.flatnonzero(ious == largest[np.cumsum(is_first) - 1])
    return best[np.diff(rows[best], prepend=-1) > 0]


def _count_matched(table: Overlap, pairs: np.ndarray) -> tuple[float, float]:
    """Sum the intersections and unions of pairs, and the areas of all the others."""
    true_left = np.ones(table.true_areas.size, dtype=bool)
    pred_left = np.ones(table.pred_areas.size, dtype=bool)
    true_left[table.rows[pairs]] = False
    pred_left[table.cols[pairs]] = False
    union = (
        table.unions[pairs].sum()
        + table.true_areas[true_left].sum()
        + table.pred_areas[pred_left].sum()
    )
    return table.areas[pairs].sum(), union
