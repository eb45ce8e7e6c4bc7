# SPDX-License-Identifier: BSD-3-Clause
"""Scores of the detection of points, within a radius."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from psmlearn.metrics._averaging import average_scores
from psmlearn.metrics._checks import (
    Average,
    Labels,
    Regions,
    check_average,
    check_zero_division,
)
from psmlearn.metrics._point_matching import count_matches
from psmlearn.metrics._points import Points, check_radius, image_points
from psmlearn.metrics._scoring import Combine, stack_counts
from psmlearn.metrics._shares import f1, precision, recall


def detection_f1_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: F1 within a radius.

    True and predicted points are matched one to one, only if they are at most
    `radius` apart, and so that there are as many matches as there can be. The score
    is twice the number of matches over the number of points in both.

    Parameters
    ----------
    y_true : list of arrays, or array
        True points of each image: (n_points, 2) of row and column in pixels, or
        (n_points, 3) with the class. Or label images, (height, width) or (height,
        width, 2) with the classes: each object is a point at the mean of its
        pixels, of the class of most of them. A list with one entry for each image,
        or one array alone. An array with two or three columns is taken for points.
    y_pred : list of arrays, or array
        Predicted points or label images of the same images.
    radius : float or sequence of float, default=10.0
        Largest distance of two points that may be matched, in pixels; above 0.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on: points of other classes are left out of both,
        so that a point given a wrong class is a miss of one class and a false alarm
        of another. An image with a class in neither scores `zero_division`, and
        lifts the macro mean if that is 1: take NaN, or "micro". None takes all
        points and does not look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: points outside are not
        scored. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no point in either. With NaN such images are left out
        of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two has
        points scores 0. An array of shape (n_images, n_radii,
        n_labels) without the axes that do not apply: images if averaged, radii and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers of images or sizes of masks or regions differ, if points have not
        two or three columns, are not finite or lack the classes that `labels` asks
        for, if a mask is not one of integer ids, or if a parameter has no known
        value.
    TypeError
        If the points are paths or no arrays at all.

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
    .. [1] K. Sirinukunwattana et al., "Locality Sensitive Deep Learning for Detection
       and Classification of Nuclei in Routine Colon Cancer Histology Images", IEEE
       Transactions on Medical Imaging 35(5), 2016.
    .. [2] Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
       Detection and Counting", MICCAI 2020.
    .. [3] J. E. Hopcroft and R. M. Karp, "An n^(5/2) Algorithm for Maximum Matchings
       in Bipartite Graphs", SIAM Journal on Computing 2(4), 1973.

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


def detection_precision_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: precision within a radius.

    True and predicted points are matched one to one, only if they are at most
    `radius` apart, and so that there are as many matches as there can be. The score
    is the number of matches over the number of predicted points.

    Parameters
    ----------
    y_true : list of arrays, or array
        True points of each image: (n_points, 2) of row and column in pixels, or
        (n_points, 3) with the class. Or label images, (height, width) or (height,
        width, 2) with the classes: each object is a point at the mean of its
        pixels, of the class of most of them. A list with one entry for each image,
        or one array alone. An array with two or three columns is taken for points.
    y_pred : list of arrays, or array
        Predicted points or label images of the same images.
    radius : float or sequence of float, default=10.0
        Largest distance of two points that may be matched, in pixels; above 0.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on: points of other classes are left out of both,
        so that a point given a wrong class is a miss of one class and a false alarm
        of another. An image with a class in neither scores `zero_division`, and
        lifts the macro mean if that is 1: take NaN, or "micro". None takes all
        points and does not look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: points outside are not
        scored. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no point in either. With NaN such images are left out
        of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two has
        points scores 0. An array of shape (n_images, n_radii,
        n_labels) without the axes that do not apply: images if averaged, radii and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers of images or sizes of masks or regions differ, if points have not
        two or three columns, are not finite or lack the classes that `labels` asks
        for, if a mask is not one of integer ids, or if a parameter has no known
        value.
    TypeError
        If the points are paths or no arrays at all.

    See Also
    --------
    detection_f1_score : Precision and recall in one; its notes go for this score
        as well.
    match_points : The matching itself.

    References
    ----------
    .. [1] K. Sirinukunwattana et al., "Locality Sensitive Deep Learning for Detection
       and Classification of Nuclei in Routine Colon Cancer Histology Images", IEEE
       Transactions on Medical Imaging 35(5), 2016.
    .. [2] Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
       Detection and Counting", MICCAI 2020.
    .. [3] J. E. Hopcroft and R. M. Karp, "An n^(5/2) Algorithm for Maximum Matchings
       in Bipartite Graphs", SIAM Journal on Computing 2(4), 1973.

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


def detection_recall_score(
    y_true: Points,
    y_pred: Points,
    *,
    radius: float | Sequence[float] = 10.0,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score detected points: recall within a radius.

    True and predicted points are matched one to one, only if they are at most
    `radius` apart, and so that there are as many matches as there can be. The score
    is the number of matches over the number of true points.

    Parameters
    ----------
    y_true : list of arrays, or array
        True points of each image: (n_points, 2) of row and column in pixels, or
        (n_points, 3) with the class. Or label images, (height, width) or (height,
        width, 2) with the classes: each object is a point at the mean of its
        pixels, of the class of most of them. A list with one entry for each image,
        or one array alone. An array with two or three columns is taken for points.
    y_pred : list of arrays, or array
        Predicted points or label images of the same images.
    radius : float or sequence of float, default=10.0
        Largest distance of two points that may be matched, in pixels; above 0.
    labels : int, sequence of int or None, default=None
        Classes to score, from 1 on: points of other classes are left out of both,
        so that a point given a wrong class is a miss of one class and a false alarm
        of another. An image with a class in neither scores `zero_division`, and
        lifts the macro mean if that is 1: take NaN, or "micro". None takes all
        points and does not look at classes.
    regions : list of arrays, array or None, default=None
        Boolean masks (height, width), one for each image: points outside are not
        scored. None in a list is a whole image.
    average : {"macro", "micro"} or None, default="macro"
        "macro" is the mean of the images' scores, "micro" the score of the counts
        pooled over all images, None each image's score.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image with no point in either. With NaN such images are left out
        of the macro mean.

    Returns
    -------
    float or ndarray
        Score in [0, 1]; 1 is perfect. An image where just one of the two has
        points scores 0. An array of shape (n_images, n_radii,
        n_labels) without the axes that do not apply: images if averaged, radii and
        labels if not a sequence.

    Raises
    ------
    ValueError
        If numbers of images or sizes of masks or regions differ, if points have not
        two or three columns, are not finite or lack the classes that `labels` asks
        for, if a mask is not one of integer ids, or if a parameter has no known
        value.
    TypeError
        If the points are paths or no arrays at all.

    See Also
    --------
    detection_f1_score : Precision and recall in one; its notes go for this score
        as well.
    match_points : The matching itself.

    References
    ----------
    .. [1] K. Sirinukunwattana et al., "Locality Sensitive Deep Learning for Detection
       and Classification of Nuclei in Routine Colon Cancer Histology Images", IEEE
       Transactions on Medical Imaging 35(5), 2016.
    .. [2] Z. Huang et al., "BCData: A Large-Scale Dataset and Benchmark for Cell
       Detection and Counting", MICCAI 2020.
    .. [3] J. E. Hopcroft and R. M. Karp, "An n^(5/2) Algorithm for Maximum Matchings
       in Bipartite Graphs", SIAM Journal on Computing 2(4), 1973.

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
    labels: Labels,
    regions: Regions,
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
