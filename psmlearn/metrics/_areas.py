# SPDX-License-Identifier: BSD-3-Clause
"""Scores of shared areas: of the foreground, and of objects with their partners."""

from __future__ import annotations

import numpy as np

from psmlearn._parameters import check_flag
from psmlearn._typing import Labels, Masks, Regions
from psmlearn.metrics._checks import Average
from psmlearn.metrics._matching import best_of_row, heaviest_matching
from psmlearn.metrics._overlap import Overlap
from psmlearn.metrics._scoring import score_masks
from psmlearn.metrics._texts import fill_docstring


@fill_docstring
def dice_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the foreground pixels: Dice, which is their F1.

    Twice the pixels that are foreground in both, over the sum of the foreground
    pixels of each. Which object a pixel belongs to does not matter.

    Parameters
    ----------
    %(y_true_foreground)s
    %(y_pred_masks)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_foreground)s

    Returns
    -------
    %(score)s

    Raises
    ------
    %(raises_of_foreground)s

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


@fill_docstring
def iou_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels | None = None,
    regions: Regions | None = None,
    average: Average = "macro",
    zero_division: float = 1.0,
) -> float | np.ndarray:
    """Score the foreground pixels: intersection over union, the Jaccard index.

    The pixels that are foreground in both, over those that are in at least one.
    Which object a pixel belongs to does not matter.

    Parameters
    ----------
    %(y_true_foreground)s
    %(y_pred_masks)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_foreground)s

    Returns
    -------
    %(score)s

    Raises
    ------
    %(raises_of_foreground)s

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


@fill_docstring
def aggregated_jaccard_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    one_to_one: bool = False,
    labels: Labels | None = None,
    regions: Regions | None = None,
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
    %(y_true_masks)s
    %(y_pred_masks)s
    one_to_one : bool, default=False
        False is Kumar's index: a prediction may be given to several true objects.
        True is AJI+: objects are matched one to one, so that the sum of IoU is as
        large as can be.
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score)s

    Raises
    ------
    %(raises_of_masks)s

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
        count_aji_plus if check_flag(one_to_one, "one_to_one") else count_aji,
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


@fill_docstring
def object_dice_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels | None = None,
    regions: Regions | None = None,
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
    %(y_true_masks)s
    %(y_pred_masks)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_partners)s

    References
    ----------
    %(reference_of_glas)s

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


@fill_docstring
def object_iou_score(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels | None = None,
    regions: Regions | None = None,
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
    %(y_true_masks)s
    %(y_pred_masks)s
    %(labels_of_masks)s
    %(regions_of_masks)s
    %(average)s
    %(zero_division_objects)s

    Returns
    -------
    %(score)s

    Raises
    ------
    %(raises_of_masks)s

    Notes
    -----
    %(notes_of_partners)s

    References
    ----------
    %(reference_of_glas)s

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
