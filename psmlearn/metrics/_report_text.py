# SPDX-License-Identifier: BSD-3-Clause
"""The report as a text."""

from __future__ import annotations

import math
from collections.abc import Iterator

_OUTLINES = {
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
    names = _OUTLINES.items()
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
