# SPDX-License-Identifier: BSD-3-Clause
"""Object-level scores as in the GlaS challenge: each object with its partner."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import Average, Labels, Masks, Regions
from psmlearn.metrics._matching import best_of_row
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import score_masks


def object_dice_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the outlines of objects: object-level Dice, as in GlaS.

    Each object is given the one of the other mask with which it shares most pixels
    as a partner. The pairs' Dice coefficients are averaged with the objects' areas
    as weights, once over the true objects and once over the predicted ones; the
    score is the mean of the two. An object without a partner counts 0.

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
        empty scores 0. An array of shape (n_images, n_labels) without the axes
        that do not apply: images if averaged, labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    Notes
    -----
    Of partners that share equally many pixels, the one with the lowest id is taken.
    "micro" takes the two averages over the objects of all images together.

    References
    ----------
    .. [1] K. Sirinukunwattana et al., "Gland segmentation in colon histology images:
       The GlaS challenge contest", Medical Image Analysis 35, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_dice_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> merged = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    >>> object_dice_score([true], [merged])
    0.5714...
    """
    return score_masks(
        y_true,
        y_pred,
        count_object_dice,
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        combine=mean_of_sides,
    )


def object_iou_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the outlines of objects: object-level IoU, as in GlaS.

    Each object is given the one of the other mask with which it shares most pixels
    as a partner. The pairs' intersections over unions (IoU) are averaged with the
    objects' areas as weights, once over the true objects and once over the
    predicted ones; the score is the mean of the two. An object without a partner
    counts 0.

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
        empty scores 0. An array of shape (n_images, n_labels) without the axes
        that do not apply: images if averaged, labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    Notes
    -----
    Of partners that share equally many pixels, the one with the lowest id is taken.
    "micro" takes the two averages over the objects of all images together.

    References
    ----------
    .. [1] K. Sirinukunwattana et al., "Gland segmentation in colon histology images:
       The GlaS challenge contest", Medical Image Analysis 35, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import object_iou_score
    >>> true = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    >>> merged = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    >>> object_iou_score([true], [merged])
    0.4
    """
    return score_masks(
        y_true,
        y_pred,
        count_object_iou,
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        combine=mean_of_sides,
    )


def count_object_dice(table: Overlap) -> np.ndarray:
    """Sum each side's Dice times area, and area."""
    total = table.true_areas[table.rows] + table.pred_areas[table.cols]
    return _count_sides(table, 2 * table.areas / total)


def count_object_iou(table: Overlap) -> np.ndarray:
    """Sum each side's IoU times area, and area."""
    return _count_sides(table, table.ious)


def partners(table: Overlap) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of each true, and of each predicted object with its partner."""
    by_true = best_of_row(table.rows, table.areas)
    order = np.argsort(table.cols, kind="stable")
    by_pred = order[best_of_row(table.cols[order], table.areas[order])]
    return by_true, by_pred


def mean_of_sides(counts: np.ndarray) -> np.ndarray:
    """Bring sums of both sides into one quotient; a side without objects counts 0."""
    sums, areas = counts[..., 0::2], counts[..., 1::2]
    means = np.divide(sums, areas, out=np.zeros_like(sums), where=areas > 0)
    n_sides = np.where((areas > 0).any(axis=-1), 2, 0)
    return np.stack([means.sum(axis=-1), n_sides], axis=-1)


def _count_sides(table: Overlap, values: np.ndarray) -> np.ndarray:
    by_true, by_pred = partners(table)
    return np.array(
        [
            (table.true_areas[table.rows[by_true]] * values[by_true]).sum(),
            table.true_areas.sum(),
            (table.pred_areas[table.cols[by_pred]] * values[by_pred]).sum(),
            table.pred_areas.sum(),
        ]
    )
