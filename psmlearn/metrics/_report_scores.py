# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of the report, from one table of overlaps for each image."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._averaging import average_scores, mean_of_known
from psmlearn.metrics._checks import MaskPair
from psmlearn.metrics._glas import count_object_dice, count_object_iou, mean_of_sides
from psmlearn.metrics._hausdorff import count_distances, mean_of_present_sides
from psmlearn.metrics._jaccard import count_aji, count_aji_plus
from psmlearn.metrics._matches import by_threshold, count_objects
from psmlearn.metrics._overlap import overlap, overlap_by_class
from psmlearn.metrics._panoptic import count_pq, count_sq, mean_iou
from psmlearn.metrics._pixels import count_dice, count_iou
from psmlearn.metrics._point_matching import count_matches
from psmlearn.metrics._points import PointSet, _points_of_image
from psmlearn.metrics._scoring import Combine, Count
from psmlearn.metrics._shares import average_precision, f1, precision, recall

_HALF = np.array(0.5)
# What a score counts in an image's table, and what makes a quotient of it.
_OUTLINES: dict[str, tuple[Count, Combine | None]] = {
    "dice": (count_dice, None),
    "iou": (count_iou, None),
    "object_dice": (count_object_dice, mean_of_sides),
    "object_iou": (count_object_iou, mean_of_sides),
    "aji": (count_aji, None),
    "aji_plus": (count_aji_plus, None),
    "pq": (by_threshold(count_pq, _HALF), None),
    "dq": (by_threshold(count_objects, _HALF), f1),
    "sq": (by_threshold(count_sq, _HALF), mean_iou),
}
_POINT_SHARES = {"precision": precision, "recall": recall, "f1": f1}
_SHARES = {**_POINT_SHARES, "average_precision": average_precision}
_CLASS_SCORES: dict[str, tuple[Count, Combine | None]] = {
    **{name: (by_threshold(count_objects, _HALF), s) for name, s in _SHARES.items()},
    **{name: _OUTLINES[name] for name in ("pq", "dq", "sq", "aji", "dice", "iou")},
}


def score_all(
    pairs: list[MaskPair],
    names: list[str],
    thresholds: np.ndarray,
    radius: float | None,
    hausdorff: bool,
    zero_division: float,
) -> dict:
    """Score all objects, whatever their class."""
    pairs = [pair._replace(true_classes=None, pred_classes=None) for pair in pairs]
    tables = [overlap(pair) for pair in pairs]
    n_true = [table.true_areas.size for table in tables]
    n_pred = [table.pred_areas.size for table in tables]
    scores = {}

    def add(name, counts, combine=None, *, empty=zero_division, is_error=False):
        counts = np.array(counts, dtype=np.float64)
        micro = average_scores(counts, "micro", empty, combine)
        each = average_scores(counts, None, empty, combine)
        scores[name] = _summarize(each, micro, names, is_error)

    for name, (count, combine) in _OUTLINES.items():
        add(name, [count(table) for table in tables], combine)
    for threshold in thresholds:
        counts = [count_objects(table, threshold) for table in tables]
        for name, share in _SHARES.items():
            add(f"object_{name}@{threshold:g}", counts, share)
    points = np.array([_count_points(pair, radius, None)[0] for pair in pairs])
    if radius is not None:
        for name, share in _POINT_SHARES.items():
            add(f"detection_{name}@{radius:g}", points, share)
    excess = (points[:, 2] - points[:, 1]).astype(np.float64)
    error = float(abs(excess.sum()))
    scores["count_error"] = _summarize(np.abs(excess), error, names, True)
    if hausdorff:
        counts = [count_distances(pair, None)[0] for pair in pairs]
        empty = float("nan") if np.isnan(zero_division) else 0.0
        add("hausdorff", counts, mean_of_present_sides, empty=empty, is_error=True)
    return {
        "n_images": len(pairs),
        "n_true_objects": sum(n_true),
        "n_pred_objects": sum(n_pred),
        "n_images_without_true": n_true.count(0),
        "n_images_without_pred": n_pred.count(0),
        "image_names": names,
        "iou_thresholds": thresholds.tolist(),
        "radius": radius,
        "zero_division": zero_division,
        "scores": scores,
    }


def score_classes(
    pairs: list[MaskPair],
    classes: list[int],
    radius: float | None,
    zero_division: float,
) -> list[dict]:
    """Score each class by its counts pooled over the images."""
    tables = [overlap_by_class(pair, classes) for pair in pairs]
    points = None
    if radius is not None:
        points = np.array([_count_points(pair, radius, classes) for pair in pairs])
    found = []
    for index, label in enumerate(classes):
        of_class = [row[index] for row in tables]
        scores = {
            "label": label,
            "support": int(sum(table.true_areas.size for table in of_class)),
            "n_pred_objects": int(sum(table.pred_areas.size for table in of_class)),
        }
        for name, (count, combine) in _CLASS_SCORES.items():
            counts = [count(table) for table in of_class]
            scores[name] = average_scores(counts, "micro", zero_division, combine)
        if points is not None:
            counts = points[:, index]
            for name, share in _POINT_SHARES.items():
                score = average_scores(counts, "micro", zero_division, share)
                scores[f"detection_{name}"] = score
        found.append(scores)
    return found


def _summarize(
    each: np.ndarray, micro: float, names: list[str], is_error: bool
) -> dict[str, float | str | list[float] | None]:
    """Tell mean, deviation and the worst of the images' scores."""
    known = np.flatnonzero(~np.isnan(each))
    worst = None
    if known.size:
        values = each[known]
        worst = int(known[values.argmax() if is_error else values.argmin()])
    return {
        "macro": float(mean_of_known(each)),
        "micro": micro,
        "std": float(each[known].std()) if known.size else float("nan"),
        "worst": float("nan") if worst is None else float(each[worst]),
        "worst_image": None if worst is None else names[worst],
        "per_image": each.tolist(),
    }


def _count_points(
    pair: MaskPair, radius: float | None, classes: list[int] | None
) -> list[tuple[int, int, int]]:
    """Count the matches (0 without radius), true and predicted centres, by class."""
    true, pred = pair.true, pair.pred
    if classes is not None:
        true = np.stack([true, pair.true_classes], axis=-1)
        pred = np.stack([pred, pair.pred_classes], axis=-1)
    points = _points_of_image(
        PointSet(pair.true_name, mask=true),
        PointSet(pair.pred_name, mask=pred),
        pair.region,
        classes,
    )
    return [
        (
            0 if radius is None else count_matches(true, pred, radius),
            len(true),
            len(pred),
        )
        for true, pred in points
    ]
