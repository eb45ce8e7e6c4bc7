# SPDX-License-Identifier: BSD-3-Clause
"""Scores of detected points, and of their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn._typing import Labels, Points, Regions
from psmlearn.metrics._checks import Average, check_average, check_zero_division
from psmlearn.metrics._point_matching import count_matches
from psmlearn.metrics._points import check_radius, image_points
from psmlearn.metrics._scoring import (
    Combine,
    average_scores,
    f1,
    precision,
    recall,
    stack_counts,
)
from psmlearn.metrics._texts import fill_docstring


@fill_docstring
def detection_f1_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: F1 within a radius.

    %(points_match)s
    The score is twice the number of matches over the number of points in both.

    Parameters
    ----------
    %(y_true_points)s
    %(y_pred_points)s
    %(radius)s
    %(labels_of_points)s
    %(regions_of_points)s
    %(average)s
    %(zero_division_points)s

    Returns
    -------
    %(score_of_points)s

    Raises
    ------
    %(raises_of_points)s

    See Also
    --------
    detection_precision_score, detection_recall_score : Its two parts.
    count_error : The error of the numbers of points.
    match_points : The matching itself.

    Notes
    -----
    Points further apart than `radius` are never matched: the cut comes first, then
    the matching, which has the most pairs that there can be [3]_. Some published
    scores do it the other way round: all points are matched for the least total
    distance, and the pairs that are too far apart are dropped. This loses matches,
    as a point may be given a far partner in favour of others that are dropped as
    well. Taking the nearest pairs first loses matches too, and taking the nearest
    neighbour of each point counts some points twice.

    The radius goes with the size of the nuclei in pixels. In use are 6 pixels at
    20-fold magnification [1]_ and 6 to 12 pixels at 40-fold, as for the Ki-67 images
    of BCData [2]_.

    Points on unknown pixels (-1) of either label image are not scored, nor, with
    `labels`, those where the class is unknown.

    References
    ----------
    %(references_of_points)s

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import detection_f1_score
    >>> true = np.array([[10.0, 10.0, 1], [10.0, 20.0, 2], [40.0, 40.0, 2]])
    >>> pred = np.array([[12.0, 10.0, 1], [10.0, 22.0, 1]])
    >>> detection_f1_score([true], [pred], radius=6)
    0.8
    >>> detection_f1_score([true], [pred], radius=6, labels=[1, 2])
    array([0.666..., 0.        ])
    """
    return _score(y_true, y_pred, f1, radius, labels, regions, average, zero_division)


@fill_docstring
def detection_precision_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: precision within a radius.

    %(points_match)s
    The score is the number of matches over the number of predicted points.

    Parameters
    ----------
    %(y_true_points)s
    %(y_pred_points)s
    %(radius)s
    %(labels_of_points)s
    %(regions_of_points)s
    %(average)s
    %(zero_division_points)s

    Returns
    -------
    %(score_of_points)s

    Raises
    ------
    %(raises_of_points)s

    See Also
    --------
    %(see_detection)s

    References
    ----------
    %(references_of_points)s

    Examples
    --------
    >>> from psmlearn.metrics import detection_precision_score
    >>> true = [[10, 10], [10, 20], [40, 40]]
    >>> pred = [[12, 10], [10, 22], [70, 70], [90, 90]]
    >>> detection_precision_score([true], [pred], radius=6)
    0.5
    """
    return _score(
        y_true, y_pred, precision, radius, labels, regions, average, zero_division
    )


@fill_docstring
def detection_recall_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: recall within a radius.

    %(points_match)s
    The score is the number of matches over the number of true points.

    Parameters
    ----------
    %(y_true_points)s
    %(y_pred_points)s
    %(radius)s
    %(labels_of_points)s
    %(regions_of_points)s
    %(average)s
    %(zero_division_points)s

    Returns
    -------
    %(score_of_points)s

    Raises
    ------
    %(raises_of_points)s

    See Also
    --------
    %(see_detection)s

    References
    ----------
    %(references_of_points)s

    Examples
    --------
    >>> from psmlearn.metrics import detection_recall_score
    >>> true = [[10, 10], [10, 20], [40, 40], [60, 20]]
    >>> pred = [[12, 10], [10, 22]]
    >>> detection_recall_score([true], [pred], radius=6)
    0.5
    >>> detection_recall_score([true], [pred], radius=[1, 6])
    array([0. , 0.5])
    """
    return _score(
        y_true, y_pred, recall, radius, labels, regions, average, zero_division
    )


def _score(
    y_true: Points,
    y_pred: Points,
    share: Combine,
    radius: float | Sequence[float],
    labels: Labels | None,
    regions: Regions | None,
    average: Average,
    zero_division: float,
) -> float | np.ndarray:
    """Average a share of the points that match."""
    check_average(average)
    zero_division = check_zero_division(zero_division)
    radii, is_one_radius = check_radius(radius)
    images, is_one_label = image_points(y_true, y_pred, labels, regions)
    counts = [
        [
            [
                (count_matches(true, pred, value), len(true), len(pred))
                for value in radii
            ]
            for true, pred in pairs
        ]
        for pairs in images
    ]
    stacked = stack_counts(counts, is_one_label)
    if is_one_radius:
        stacked = stacked[:, 0]
    return average_scores(stacked, average, zero_division, share)


@fill_docstring
def count_error(
    y_true: Points,
    y_pred: Points,
    *,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
) -> float | np.ndarray:
    """Measure how far the number of predicted objects is from the true number.

    The mean over the images of the absolute difference of the two numbers. Where the
    objects lie does not matter.

    Parameters
    ----------
    %(y_true_points)s
    %(y_pred_points)s
    labels : int, sequence of int or None, default=None
        Classes to count, from 1 on. None counts all objects and does not look at
        classes.
    regions : list of arrays or paths, array, path or None, default=None
        Boolean masks (height, width), one for each image: points outside do not
        count, and an object of a label image counts where its mean lies. None in a
        list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' errors, "micro" the error of the total
        over all images, in which too many here and too few there cancel out, None
        each image's error.

    Returns
    -------
    float or ndarray
        Error in objects, at least 0; 0 is perfect. An array of shape (n_images,
        n_labels) without the axes that do not apply: images if averaged, labels if
        not a sequence.

    Raises
    ------
    %(raises_of_points)s

    Notes
    -----
    With the classes of Ki-67 staining, 1 positive and 2 negative, ``count_error(...,
    labels=[1, 2])`` gives the errors published as MP and MN [1]_, and its mean is MA:

    .. math::

        MP = \\frac{1}{N} \\sum_i |\\hat n^+_i - n^+_i|, \\quad
        MN = \\frac{1}{N} \\sum_i |\\hat n^-_i - n^-_i|, \\quad
        MA = \\frac{MP + MN}{2}

    MA is not the error of all nuclei counted together, which ``labels=None`` gives.

    References
    ----------
    .. [1] Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
       Detection and Counting", MICCAI 2020.

    Examples
    --------
    >>> from psmlearn.metrics import count_error
    >>> true = [[[5, 5, 1], [20, 5, 2], [5, 20, 2]], [[8, 8, 1]]]
    >>> pred = [[[5, 6, 1], [20, 5, 1]], [[8, 8, 1]]]
    >>> count_error(true, pred)
    0.5
    >>> errors = count_error(true, pred, labels=[1, 2])
    >>> errors
    array([0.5, 1. ])
    >>> float(errors.mean())
    0.75
    """
    check_average(average)
    images, is_one_label = image_points(y_true, y_pred, labels, regions)
    excess = np.array(
        [[len(pred) - len(true) for true, pred in pairs] for pairs in images],
        dtype=np.float64,
    )
    if is_one_label:
        excess = excess[:, 0]
    if average == "micro":
        errors = np.abs(excess.sum(axis=0))
    else:
        errors = np.abs(excess)
        if average == "macro":
            errors = errors.mean(axis=0)
    return float(errors) if errors.ndim == 0 else errors
