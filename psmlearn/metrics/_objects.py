# SPDX-License-Identifier: BSD-3-Clause
"""Scores of the detection of objects, at thresholds of their overlap."""

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
from psmlearn.metrics._matches import score_matches
from psmlearn.metrics._shares import average_precision, f1, precision, recall


def object_f1_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
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
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack; or
        one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0, 1). From 0.5 on no object has two
        partners; below, a one-to-one matching with as many matches as there can
        be is counted.
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

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition of panoptic
    quality and in torchmetrics; StarDist and Cellpose count it as one. They score an
    image without objects 0 and NaN.

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
    >>> object_f1_score([true], [pred], iou_threshold=[0.2, 0.5])
    array([1. , 0.5])
    """
    thresholds = check_iou_threshold(iou_threshold, lowest=0.0)
    return score_matches(
        y_true, y_pred, f1, thresholds, labels, regions, average, zero_division
    )


def object_precision_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: precision at a threshold of their overlap.

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the number of matches over the number of
    predicted objects.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack; or
        one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0, 1). From 0.5 on no object has two
        partners; below, a one-to-one matching with as many matches as there can
        be is counted.
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

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition of panoptic
    quality and in torchmetrics; StarDist and Cellpose count it as one. They score an
    image without objects 0 and NaN.

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus
       Segmentation in Fluorescence Images", Cytometry Part A 95(9), 2019.

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


def object_recall_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: recall at a threshold of their overlap.

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the number of matches over the number of
    true objects.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack; or
        one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0, 1). From 0.5 on no object has two
        partners; below, a one-to-one matching with as many matches as there can
        be is counted.
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

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition of panoptic
    quality and in torchmetrics; StarDist and Cellpose count it as one. They score an
    image without objects 0 and NaN.

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus
       Segmentation in Fluorescence Images", Cytometry Part A 95(9), 2019.

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


def object_average_precision_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    iou_threshold: float | Sequence[float] = 0.5,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the detection of objects: average precision at a threshold of overlap.

    A true and a predicted object match if their intersection over union (IoU) is
    above `iou_threshold`. The score is the number of matches over that of matches,
    missed and false objects together. It goes by three names: average precision in
    Cellpose and the Data Science Bowl 2018 (there averaged over the thresholds 0.5,
    0.55, ..., 0.95), accuracy in StarDist, and threat score. It is not the area
    under a precision-recall curve.

    Parameters
    ----------
    y_true : list of arrays, or array
        True label images, each (height, width), or (height, width, 2) with the
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack; or
        one mask alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    iou_threshold : float or sequence of float, default=0.5
        IoU above which two objects match, in [0, 1). From 0.5 on no object has two
        partners; below, a one-to-one matching with as many matches as there can
        be is counted.
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

    Notes
    -----
    An IoU equal to the threshold is no match, as in the definition of panoptic
    quality and in torchmetrics; StarDist and Cellpose count it as one. They score an
    image without objects 0 and NaN.

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus
       Segmentation in Fluorescence Images", Cytometry Part A 95(9), 2019.

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
