# SPDX-License-Identifier: BSD-3-Clause
"""Errors of counted objects."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import Average, Labels, Regions, check_average
from psmlearn.metrics._points import Points, image_points


def count_error(
    y_true: Points,
    y_pred: Points,
    *,
    labels: Labels = None,
    regions: Regions = None,
    average: Average = "macro",
) -> float | np.ndarray:
    """Measure how far the number of predicted objects is from the true number.

    The mean over the images of the absolute difference of the two numbers. Where the
    objects lie does not matter.

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
    labels : int, sequence of int or None, default=None
        Classes to count, from 1 on. None counts all objects and does not look at
        classes.
    regions : list of arrays, array or None, default=None
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
    ValueError
        If numbers of images or sizes of masks or regions differ, if points have not
        two or three columns, are not finite or lack the classes that `labels` asks
        for, if a mask is not one of integer ids, or if a parameter has no known
        value.
    TypeError
        If the points are paths or no arrays at all.

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
