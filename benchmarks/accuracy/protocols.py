# SPDX-License-Identifier: BSD-3-Clause
"""How predictions are scored, by name.

``full``: whole images, every true instance, means over images; detection by the
objects' centroids, radii in the files' own pixels.

``psm-paper``: as the code of [1]_ scores, so that numbers stand beside the published
ones: the middle 512 x 512 pixels of each image, and connected components
(8-connectivity) of the binary masks for objects, both true and predicted, so that
touching nuclei count as one. AJI is given twice, as that code computes it
(``aji_code``) and as Kumar defines it (``aji``).

References
----------
.. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
   Self-activation Maps", MICCAI 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage as ndi

from benchmarks.accuracy.datasets import centre_crop
from benchmarks.accuracy.papers import PSM_SIZE
from psmlearn.metrics import (
    aggregated_jaccard_score,
    detection_f1_score,
    detection_quality_score,
    dice_score,
    iou_score,
    object_dice_score,
    object_f1_score,
    object_iou_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
)

Scores = dict[str, np.ndarray]
RADII = (6, 10, 12)


def score_full(true: list[np.ndarray], pred: list[np.ndarray]) -> Scores:
    """Score whole images, one value an image."""
    scores = {
        "aji": aggregated_jaccard_score(true, pred, average=None),
        "aji_plus": aggregated_jaccard_score(true, pred, one_to_one=True, average=None),
        "dice": dice_score(true, pred, average=None),
        "iou": iou_score(true, pred, average=None),
        "object_dice": object_dice_score(true, pred, average=None),
        "precision": object_precision_score(true, pred, average=None),
        "recall": object_recall_score(true, pred, average=None),
        "f1": object_f1_score(true, pred, average=None),
        "pq": panoptic_quality_score(true, pred, average=None),
        "dq": detection_quality_score(true, pred, average=None),
        "sq": segmentation_quality_score(true, pred, average=None),
    }
    for radius in RADII:
        scores[f"detection_f1_{radius}px"] = detection_f1_score(
            true, pred, radius=radius, average=None
        )
    return scores


def score_as_paper(true: list[np.ndarray], pred: list[np.ndarray]) -> Scores:
    """Score centre crops by connected components, one value an image."""
    true = [_components(centre_crop(mask, PSM_SIZE)) for mask in true]
    pred = [_components(centre_crop(mask, PSM_SIZE)) for mask in pred]
    return {
        "pixel_iou": iou_score(true, pred, average=None),
        "pixel_f1": dice_score(true, pred, average=None),
        "object_dice": object_dice_score(true, pred, average=None),
        "object_iou": object_iou_score(true, pred, average=None),
        "aji_code": np.array(list(map(aji_of_the_code, true, pred))),
        "aji": aggregated_jaccard_score(true, pred, average=None),
    }


def aji_of_the_code(true: np.ndarray, pred: np.ndarray) -> float:
    """Compute AJI with the slip of the paper's code.

    A true object that no prediction touches is given the first prediction: their
    whole areas join the union, and that prediction counts as used.
    """
    true_areas = np.bincount(true.ravel())[1:]
    pred_areas = np.bincount(pred.ravel())[1:]
    if not true_areas.size or not pred_areas.size:
        return float(true_areas.size == pred_areas.size)
    shape = (true_areas.size + 1, pred_areas.size + 1)
    pairs = np.ravel_multi_index((true.ravel(), pred.ravel()), shape)
    shared = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)[1:, 1:]
    unions = true_areas[:, None] + pred_areas - shared
    # The first of the largest; the first of all where nothing is shared.
    best = (shared / unions).argmax(axis=1)
    rows = np.arange(true_areas.size)
    unused = np.setdiff1d(np.arange(pred_areas.size), best)
    union = unions[rows, best].sum() + pred_areas[unused].sum()
    return float(shared[rows, best].sum() / union)


def _components(mask: np.ndarray) -> np.ndarray:
    return ndi.label(mask > 0, structure=np.ones((3, 3)))[0]


PROTOCOLS: dict[str, Callable[[list, list], Scores]] = {
    "full": score_full,
    "psm-paper": score_as_paper,
}
