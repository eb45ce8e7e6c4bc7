# SPDX-License-Identifier: BSD-3-Clause
"""Scores of the foreground pixels."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import Average, Labels, Masks, Regions
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import score_masks


def dice_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels = None,
    regions: Regions = None,
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
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown; boolean and 0/255 masks will do. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width).
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
        Score of an image with no foreground in either mask. With NaN such images are
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
        integers, holds values below -1 or lacks the classes that `labels` asks for,
        or if a parameter has no known value.
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
    >>> dice_score([true], [pred], regions=[true != 2])
    1.0
    """
    return score_masks(
        y_true,
        y_pred,
        count_dice,
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        binary=True,
    )


def iou_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the foreground pixels: intersection over union, the Jaccard index.

    The pixels that are foreground in both, over those that are in at least one.
    Which object a pixel belongs to does not matter.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown; boolean and 0/255 masks will do. A list of masks, which
        may differ in size; a stack of shape (n_images, height, width) or (n_images,
        height, width, 2); or one mask alone of shape (height, width).
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
        Score of an image with no foreground in either mask. With NaN such images are
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
        integers, holds values below -1 or lacks the classes that `labels` asks for,
        or if a parameter has no known value.
    TypeError
        If the masks are paths or no arrays at all.

    References
    ----------
    .. [1] P. Jaccard, "The distribution of the flora in the alpine zone", New
       Phytologist 11(2), 1912.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import iou_score
    >>> true = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    >>> pred = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    >>> iou_score([true], [pred])
    0.6666...
    """
    return score_masks(
        y_true,
        y_pred,
        count_iou,
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
        binary=True,
    )


def count_dice(table: Overlap) -> np.ndarray:
    """Count the shared foreground twice, and the foreground of each."""
    total = table.true_areas.sum() + table.pred_areas.sum()
    return np.array([2 * table.areas.sum(), total])


def count_iou(table: Overlap) -> np.ndarray:
    """Count the shared foreground, and that of at least one."""
    shared = table.areas.sum()
    total = table.true_areas.sum() + table.pred_areas.sum()
    return np.array([shared, total - shared])
