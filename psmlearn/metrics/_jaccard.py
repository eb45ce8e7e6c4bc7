# SPDX-License-Identifier: BSD-3-Clause
"""The aggregated Jaccard index."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import Average, Labels, Masks, Regions
from psmlearn.metrics._matching import best_of_row, heaviest_matching
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import score_masks


def aggregated_jaccard_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    one_to_one: bool = False,
    labels: Labels = None,
    regions: Regions = None,
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
        classes in the second plane. Integers: 0 is background, each id above 0 an
        object, -1 unknown. A list of masks, which may differ in size; a stack of
        shape (n_images, height, width) or (n_images, height, width, 2); or one mask
        alone of shape (height, width).
    y_pred : list of arrays, or array
        Predicted label images, of the same number and sizes. A pixel that is -1
        in either of the two is not scored.
    one_to_one : bool, default=False
        False is Kumar's index: a prediction may be given to several true objects.
        True is AJI+: objects are matched one to one, so that the sum of IoU is as
        large as can be.
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
    Of predictions with equal IoU, the one with the lowest id is taken. Where several
    one-to-one matchings have the same sum of IoU, AJI+ may follow any of them.

    Cellpose's function of the same name differs from both: it matches one to one,
    as many pairs with IoU of 0.5 or more as there can be first, and takes the union
    of all foreground pixels for the denominator, so that an object split 60 to 40
    scores 0.6 and not Kumar's 24/56. It gives each image's score, NaN of empty ones.

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
    return score_masks(
        y_true,
        y_pred,
        count_aji_plus if one_to_one else count_aji,
        labels=labels,
        regions=regions,
        average=average,
        zero_division=zero_division,
    )


def count_aji(table: Overlap) -> np.ndarray:
    """Sum intersections and unions, each true object with its best prediction."""
    best = best_of_row(table.rows, table.ious)
    return _count_matched(table, best)


def count_aji_plus(table: Overlap) -> np.ndarray:
    """Sum intersections and unions of the best one-to-one matching."""
    return _count_matched(table, heaviest_matching(table.rows, table.cols, table.ious))


def _count_matched(table: Overlap, pairs: np.ndarray) -> np.ndarray:
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
    return np.array([table.areas[pairs].sum(), union])
