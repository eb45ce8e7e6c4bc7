# SPDX-License-Identifier: BSD-3-Clause
"""All scores of a segmentation at once, to read or to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn._parameters import as_list, check_flag, is_number, shown
from psmlearn._typing import Labels, Masks, Regions
from psmlearn.metrics._areas import (
    count_aji,
    count_aji_plus,
    count_dice,
    count_iou,
    count_object_dice,
    count_object_iou,
    mean_of_sides,
)
from psmlearn.metrics._checks import (
    MaskPair,
    check_iou_threshold,
    check_labels,
    check_pairs,
    check_zero_division,
)
from psmlearn.metrics._hausdorff import count_distances, mean_of_present_sides
from psmlearn.metrics._objects import (
    by_threshold,
    count_objects,
    count_pq,
    count_sq,
    mean_iou,
)
from psmlearn.metrics._overlap import Overlap, checked_runs, overlap, overlap_by_class
from psmlearn.metrics._point_matching import count_matches
from psmlearn.metrics._points import PointSet, _points_of_image, check_radius
from psmlearn.metrics._scoring import (
    Combine,
    Count,
    average_precision,
    average_scores,
    f1,
    mean_of_known,
    precision,
    recall,
)
from psmlearn.metrics._texts import fill_docstring

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
_OUTLINE_TEXTS = {
    "dice": "Dice",
    "iou": "IoU",
    "object_dice": "object Dice",
    "object_iou": "object IoU",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "pq": "PQ",
    "dq": "DQ",
    "sq": "SQ",
}
_MATCHES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
}
_STATISTICS = ("macro", "micro", "std", "worst")
_CLASS_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "dice": "Dice",
    "detection_f1": "centre F1",
}


@fill_docstring
def segmentation_report(
    y_true: Masks,
    y_pred: Masks,
    *,
    labels: Labels | None = None,
    target_names: Sequence[str] | None = None,
    regions: Regions | None = None,
    iou_thresholds: float | Sequence[float] = (0.5, 0.7, 0.9),
    radius: float | None = 10.0,
    hausdorff: bool = False,
    names: Sequence[str] | None = None,
    digits: int = 3,
    output_dict: bool = False,
    zero_division: float = 1.0,
) -> str | dict:
    """Tell all scores of a segmentation, as a text or as a dict.

    Parameters
    ----------
    %(y_true_masks)s
    %(y_pred_masks)s
    labels : int, sequence of int or None, default=None
        Classes to score one by one as well, from 1 on, of masks with classes.
    target_names : sequence of str, default=None
        What to call the classes, in the order of `labels`. By default "class 1" and
        so on.
    %(regions_of_masks)s
    iou_thresholds : float or sequence of float, default=(0.5, 0.7, 0.9)
        IoU above which two objects match, in [0, 1): for precision, recall, F1 and
        average precision of objects. PQ, DQ, SQ and the scores of classes keep to
        0.5. They must differ in their first six digits, which name the scores.
    radius : float or None, default=10.0
        Largest distance of the centres of two objects that match, in pixels: for
        precision, recall and F1 of the detection. None leaves these out.
    hausdorff : bool, default=False
        Whether to measure the object-level Hausdorff distance too, which takes
        longer than all the rest.
    names : sequence of str, default=None
        What to call the images. By default "image 0" and so on.
    digits : int, default=3
        Digits after the point in the text.
    output_dict : bool, default=False
        Whether to return a dict in place of the text.
    zero_division : {0.0, 1.0, np.nan}, default=1.0
        Score of an image where there is nothing to score. With NaN such images are
        left out of the macro mean, the deviation, and the search for the worst.

    Returns
    -------
    str or dict
        The text has a row for each score: the mean over the images (macro), the
        score of the counts pooled over the images (micro), the standard deviation
        over the images (their number is the divisor), and the worst image. A
        second table has a row for each class, its counts pooled over the images.
        The dict holds the same with all digits, in plain numbers, strings, lists
        and dicts that `json.dumps` takes (NaN as in Python's json):

        - "n_images", "n_true_objects", "n_pred_objects", "n_images_without_true"
          and "n_images_without_pred" (objects): int; "image_names": list of str;
          "iou_thresholds": list of float; "radius": float or None;
          "zero_division": float
        - "scores": for each score, such as "aji", "object_f1@0.7" or
          "detection_f1@10", a dict of "macro", "micro", "std", "worst",
          "worst_image" and, in the order of the images, "per_image"
        - "classes": for each name a dict of "label", "support" (true objects),
          "n_pred_objects" and the pooled scores; only with `labels`

    Raises
    ------
    ValueError
        If numbers or sizes of masks or regions differ, if a mask is not of
        integers, holds values below -1, is a 0/255 mask or lacks the classes that
        `labels` asks for, if there is not one name for each class or image, or if a
        parameter has no known value.
    FileNotFoundError
        If there is no file of a path.
    TypeError
        If the masks are no arrays or paths at all.

    See Also
    --------
    object_f1_score, panoptic_quality_score, aggregated_jaccard_score : What the
        scores mean, and where other libraries differ.

    Notes
    -----
    The numbers equal those of the functions: "sq" those of
    `segmentation_quality_score`, "object_f1@0.7" those of ``object_f1_score(...,
    iou_threshold=0.7)``, and so on. "count_error", `count_error`, and "hausdorff",
    `hausdorff_distance`, are no shares: lower is better, and the worst is the
    largest.

    Scores of pixels, objects and outlines, and the numbers of objects, go by pixel:
    what lies outside of a region or is unknown is cut away, and of each object the
    pixels of a class count for that class. Scores of centres and the count error go
    by object: it counts whole where its centroid lies inside and is known, for the
    class of most of its pixels. With regions, unknown pixels or objects of several
    classes the two may differ in number.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.metrics import segmentation_report
    >>> true = np.zeros((2, 40, 40), dtype=int)
    >>> true[:, 2:12, 2:12], true[:, 20:32, 20:32] = 1, 2
    >>> pred = true.copy()
    >>> pred[0, 2:5] = 0
    >>> pred[1, 20:27] = 0
    >>> print(segmentation_report(true, pred, iou_thresholds=0.5, digits=2))
                              macro    micro      std    worst  worst image
    <BLANKLINE>
    pixels
      Dice                     0.86     0.87     0.07     0.79  image 1
      IoU                      0.77     0.77     0.11     0.66  image 1
    <BLANKLINE>
    objects
      object Dice              0.87     0.87     0.07     0.80  image 1
      object IoU               0.80     0.81     0.09     0.72  image 1
      AJI                      0.77     0.77     0.11     0.66  image 1
      AJI+                     0.77     0.77     0.11     0.66  image 1
      PQ                       0.68     0.68     0.17     0.50  image 1
      DQ                       0.75     0.75     0.25     0.50  image 1
      SQ                       0.93     0.90     0.08     0.85  image 0
    <BLANKLINE>
    objects found at IoU > 0.5
      precision                0.75     0.75     0.25     0.50  image 1
      recall                   0.75     0.75     0.25     0.50  image 1
      F1                       0.75     0.75     0.25     0.50  image 1
      average precision        0.67     0.60     0.33     0.33  image 1
    <BLANKLINE>
    centres found within 10 px
      precision                1.00     1.00     0.00     1.00  image 0
      recall                   1.00     1.00     0.00     1.00  image 0
      F1                       1.00     1.00     0.00     1.00  image 0
    <BLANKLINE>
    errors, lower is better
      count error              0.00     0.00     0.00     0.00  image 0
    <BLANKLINE>
    images: 2, true objects: 4, predicted objects: 4
    macro: mean over images; micro: counts pooled over images;
    std: standard deviation over images; PQ, DQ and SQ at IoU > 0.5
    >>> report = segmentation_report(true, pred, output_dict=True)
    >>> report["scores"]["aji"]["per_image"]
    [0.877..., 0.655...]
    """
    zero_division = check_zero_division(zero_division)
    thresholds = check_thresholds(iou_thresholds)
    radius = check_one_radius(radius)
    if not is_number(digits, whole=True) or not 0 <= digits <= 100:
        raise ValueError(
            f"digits must be a whole number from 0 on; got {shown(digits)}, and at "
            "most 100 can be printed."
        )
    check_flag(hausdorff, "hausdorff")
    check_flag(output_dict, "output_dict")
    classes, _ = check_labels(labels)
    if classes is None and target_names is not None:
        raise ValueError("target_names names classes; give `labels` too.")
    class_names = _check_names(target_names, "target_names", "class", classes or [])
    pairs = check_pairs(y_true, y_pred, classes=classes is not None, regions=regions)
    image_names = _check_names(names, "names", "image", range(len(pairs)))
    report = score_all(pairs, image_names, thresholds, radius, hausdorff, zero_division)
    if classes is not None:
        counts = [count_classes(pair, classes, radius) for pair in pairs]
        found = score_classes(counts, classes, radius, zero_division)
        report["classes"] = dict(zip(class_names, found, strict=True))
    return report if output_dict else format_report(report, digits)


def check_thresholds(iou_thresholds: float | Sequence[float]) -> np.ndarray:
    """Take thresholds of IoU, whose digits tell the names of scores apart."""
    thresholds = np.atleast_1d(check_iou_threshold(iou_thresholds, lowest=0.0))
    printed = [f"{threshold:g}" for threshold in thresholds]
    if len(set(printed)) < len(printed):
        raise ValueError(
            f"iou_thresholds holds two that print alike: {', '.join(printed)}; the "
            "names of the scores would not tell them apart."
        )
    return thresholds


def check_one_radius(radius: float | None) -> float | None:
    """Take one radius above 0, or None."""
    if radius is None:
        return None
    radii, is_one = check_radius(radius)
    if not is_one:
        raise ValueError(f"radius must be one number, or None; got {radius!r}.")
    return radii[0]


def _check_names(
    names: Sequence[str] | None, parameter: str, kind: str, numbers: Iterable[int]
) -> list[str]:
    """Take one name for each number, or make them."""
    made = [f"{kind} {number}" for number in numbers]
    if names is None:
        return made
    names = as_list(names, parameter, "a sequence of str")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{parameter} must be a sequence of str, got {shown(names)}.")
    if len(names) != len(made):
        raise ValueError(
            f"{parameter} has {len(names)} names; expected {len(made)}, one for each "
            f"{kind}."
        )
    if kind == "class" and len(set(names)) < len(names):
        raise ValueError(f"{parameter} holds a name twice: {list(names)}.")
    return [str(name) for name in names]


@dataclass(frozen=True)
class ImageCounts:
    """What the scores of one image are made of: no more than its objects."""

    table: Overlap
    points: tuple[int, int, int]
    distances: Any


def count_image(
    pair: MaskPair, radius: float | None = None, hausdorff: bool = False
) -> ImageCounts:
    """Count what `score_counts` needs of one image, whatever the classes."""
    pair = pair._replace(true_classes=None, pred_classes=None)
    distances = count_distances(pair, None)[0] if hausdorff else None
    return ImageCounts(overlap(pair), _count_points(pair, radius, None)[0], distances)


def score_all(
    pairs: list[MaskPair],
    names: list[str],
    thresholds: np.ndarray,
    radius: float | None,
    hausdorff: bool,
    zero_division: float,
) -> dict:
    """Score all objects, whatever their class."""
    counts = [count_image(pair, radius, hausdorff) for pair in pairs]
    return score_counts(counts, names, thresholds, radius, hausdorff, zero_division)


def score_counts(
    counted: Sequence[ImageCounts],
    names: list[str],
    thresholds: np.ndarray,
    radius: float | None,
    hausdorff: bool = False,
    zero_division: float = 1.0,
) -> dict:
    """Score images of which nothing is left but their counts."""
    tables = [image.table for image in counted]
    n_true = [table.true_areas.size for table in tables]
    n_pred = [table.pred_areas.size for table in tables]
    scores = {}

    def add(name, counts, combine=None, *, empty=zero_division, is_error=False):
        counts = np.array(counts, dtype=np.float64)
        micro = average_scores(counts, "micro", empty, combine)
        each = average_scores(counts, None, empty, combine)
        scores[name] = _summarize(np.asarray(each), float(micro), names, is_error)

    for name, (count, combine) in _OUTLINES.items():
        add(name, [count(table) for table in tables], combine)
    for threshold in thresholds:
        counts = [count_objects(table, threshold) for table in tables]
        for name, share in _SHARES.items():
            add(f"object_{name}@{threshold:g}", counts, share)
    points = np.array([image.points for image in counted])
    if radius is not None:
        for name, share in _POINT_SHARES.items():
            add(f"detection_{name}@{radius:g}", points, share)
    excess = (points[:, 2] - points[:, 1]).astype(np.float64)
    error = float(abs(excess.sum()))
    scores["count_error"] = _summarize(np.abs(excess), error, names, True)
    if hausdorff:
        counts = [image.distances for image in counted]
        empty = float("nan") if np.isnan(zero_division) else 0.0
        add("hausdorff", counts, mean_of_present_sides, empty=empty, is_error=True)
    return {
        "n_images": len(tables),
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


def score_one(
    counted: ImageCounts,
    thresholds: np.ndarray,
    radius: float | None,
    zero_division: float,
) -> dict[str, Any]:
    """Score one image: numbers alone, without what is told of several images."""
    told = score_counts([counted], [""], thresholds, radius, False, zero_division)
    scores = {name: score["per_image"][0] for name, score in told["scores"].items()}
    numbers = {name: told[name] for name in ("n_true_objects", "n_pred_objects")}
    return {**numbers, **scores}


@dataclass(frozen=True)
class ClassCounts:
    """What the scores of one image's classes are made of; an entry for each class.

    `tables` is of objects that have one class each, `of_pixels` goes by each pixel.
    """

    tables: list[Overlap]
    of_pixels: list[Overlap]
    points: list[tuple[int, int, int]]


def count_classes(
    pair: MaskPair, classes: list[int], radius: float | None
) -> ClassCounts:
    """Count what `score_classes` needs of one image."""
    runs = checked_runs(pair)
    points = [] if radius is None else _count_points(pair, radius, classes)
    return ClassCounts(
        overlap_by_class(runs, classes, by_object=True),
        overlap_by_class(runs, classes, by_object=False),
        points,
    )


def score_classes(
    counted: Sequence[ClassCounts],
    classes: list[int],
    radius: float | None,
    zero_division: float,
) -> list[dict]:
    """Score each class by its counts pooled over the images."""
    found = []
    for index, label in enumerate(classes):
        of_class = [image.tables[index] for image in counted]
        scores: dict[str, Any] = {
            "label": label,
            "support": int(sum(table.true_areas.size for table in of_class)),
            "n_pred_objects": int(sum(table.pred_areas.size for table in of_class)),
        }
        for name, (count, combine) in _CLASS_SCORES.items():
            tables = of_class
            if name in ("dice", "iou"):  # as dice_score and iou_score count
                tables = [image.of_pixels[index] for image in counted]
            counts = np.array([count(table) for table in tables])
            scores[name] = average_scores(counts, "micro", zero_division, combine)
        if radius is not None:
            counts = np.array([image.points[index] for image in counted])
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
        true = np.stack([true, np.asarray(pair.true_classes)], axis=-1)
        pred = np.stack([pred, np.asarray(pair.pred_classes)], axis=-1)
    points = _points_of_image(
        PointSet(pair.true_name, mask=true),
        PointSet(pair.pred_name, mask=pred),
        pair.region,
        classes,
    )
    return [count_points(true, pred, radius) for true, pred in points]


def count_points(
    true: np.ndarray, pred: np.ndarray, radius: float | None
) -> tuple[int, int, int]:
    """Count the matches (0 without radius), true and predicted centres."""
    n_matches = 0 if radius is None else count_matches(true, pred, radius)
    return n_matches, len(true), len(pred)


def format_report(report: dict, digits: int) -> str:
    """Write the tables of a report, and what is needed to read them."""
    scores = report["scores"]
    width = max(len(f"{score['macro']:.{digits}f}") for score in scores.values())
    width = max(width, digits + 2, len("macro")) + 4
    lines = [
        "".join([" " * 22, *(f"{s:>{width}}" for s in _STATISTICS), "  worst image"])
    ]
    for title, rows in _blocks(report):
        lines += ["", title]
        for key, text in rows.items():
            lines.append(_row(text, scores[key], width, digits))
    if "classes" in report:
        lines += ["", *_class_table(report, digits)]
    return "\n".join([*lines, "", *_notes(report)])


def _blocks(report: dict) -> Iterator[tuple[str, dict[str, str]]]:
    """Name the blocks of rows, each with its scores and their names."""
    names = _OUTLINE_TEXTS.items()
    yield "pixels", {key: text for key, text in names if key in ("dice", "iou")}
    yield "objects", {key: text for key, text in names if key not in ("dice", "iou")}
    for threshold in report["iou_thresholds"]:
        keys = {f"object_{k}@{threshold:g}": text for k, text in _MATCHES.items()}
        yield f"objects found at IoU > {threshold:g}", keys
    if report["radius"] is not None:
        radius = f"{report['radius']:g}"
        keys = {f"detection_{k}@{radius}": _MATCHES[k] for k in _MATCHES}
        keys.pop(f"detection_average_precision@{radius}")
        yield f"centres found within {radius} px", keys
    errors = {"count_error": "count error"}
    if "hausdorff" in report["scores"]:
        errors["hausdorff"] = "Hausdorff, px"
    yield "errors, lower is better", errors


def _row(text: str, score: dict, width: int, digits: int) -> str:
    """Write a row of the first table."""
    numbers = "".join(f"{score[name]:>{width}.{digits}f}" for name in _STATISTICS)
    return f"  {text:<20}{numbers}  {score['worst_image'] or '-'}"


def _class_table(report: dict, digits: int) -> list[str]:
    """Write a row for each class, and one for their mean."""
    classes = report["classes"]
    some = next(iter(classes.values()))
    columns = {key: text for key, text in _CLASS_COLUMNS.items() if key in some}
    first = max(22, *(len(name) + 4 for name in classes))
    widths = {key: max(len(text), digits + 2) + 2 for key, text in columns.items()}
    header = "".join(f"{text:>{widths[key]}}" for key, text in columns.items())
    lines = [f"{'classes, pooled':<{first}}{header}{'support':>9}"]
    rows = {**classes}
    if len(classes) > 1:
        rows["mean of classes"] = {
            **{key: _mean([row[key] for row in classes.values()]) for key in columns},
            "support": sum(row["support"] for row in classes.values()),
        }
    for name, row in rows.items():
        numbers = "".join(f"{row[key]:>{widths[key]}.{digits}f}" for key in columns)
        lines.append(f"  {name:<{first - 2}}{numbers}{row['support']:>9}")
    return lines


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _notes(report: dict) -> list[str]:
    """Say what was counted, and how."""
    lines = [
        f"images: {report['n_images']}, true objects: {report['n_true_objects']}, "
        f"predicted objects: {report['n_pred_objects']}",
        "macro: mean over images; micro: counts pooled over images;",
        "std: standard deviation over images; PQ, DQ and SQ at IoU > 0.5",
    ]
    if "classes" in report:
        lines.append("classes: counts pooled over images, objects found at IoU > 0.5")
    n_true, n_pred = report["n_images_without_true"], report["n_images_without_pred"]
    if n_true or n_pred:
        lines.append(
            f"images without true objects: {n_true}, without predicted ones: {n_pred}; "
            f"0 / 0 is {report['zero_division']:g}"
        )
    return lines
