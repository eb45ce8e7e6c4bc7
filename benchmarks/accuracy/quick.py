# SPDX-License-Identifier: BSD-3-Clause
"""What the quick mode must find, so that a broken benchmark or method is noticed."""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.accuracy import weak
from benchmarks.accuracy.ki67 import criterion

# Otsu's AJI on the quick crops, as measured with scikit-image 0.26.
FLOOR_AJI = {"monuseg-quick": 0.499}
TOLERANCE = 0.02
# Of the contours over Otsu's threshold in AJI; 0.086 was measured.
LEAST_GAIN = 0.05
# Mean F1 of both classes at 6 and 10 pixels of the quickly tuned LoG blobs.
FLOOR_F1 = {"ki67-glioma-quick": 0.692, "ki67-fields-quick": 0.705}
# What is label-free has to find both classes, if only roughly after so few steps.
LABEL_FREE = ("clusterer-ki67", "psmlearn-ki67")
LEAST_F1 = 0.5


def check(runs: list[dict]) -> None:
    """Exit with an error where a row's scores cannot be right."""
    problems = _check_masks([run for run in runs if "scores" in run])
    problems += _check_classes([run for run in runs if "counts" in run])
    problems += _check_lesions([run for run in runs if "outcome" in run])
    if problems:
        sys.exit("\n".join(["the quick accuracy run is wrong:", *problems]))


def _check_masks(runs: list[dict]) -> list[str]:
    """Compare AJI with what it must be."""
    problems = []
    found: dict = {}
    for run in runs:
        where = f"{run['dataset']}, {run['row']}"
        for protocol, scores in run["scores"].items():
            for name, values in scores.items():
                if not (np.isfinite(values).all() and 0 <= min(values) <= 1):
                    problems.append(f"{where}: {protocol} {name} is {values}")
        found[run["dataset"], run["row"]] = float(np.mean(run["scores"]["full"]["aji"]))
    for (dataset, row), aji in found.items():
        floor = found.get((dataset, "otsu-watershed"))
        expected = FLOOR_AJI.get(dataset)
        if row == "otsu-watershed" and expected and abs(aji - expected) > TOLERANCE:
            problems.append(f"{dataset}: Otsu's AJI is {aji:.3f}, not {expected}")
        # Few steps of training, but on few images: the margin is wide.
        # What is not trained is the same everywhere: far above it.
        if row == "contours" and expected and floor and aji <= floor + LEAST_GAIN:
            problems.append(f"{dataset}: {row} has AJI {aji:.3f}, Otsu {floor:.3f}")
        if row == "psmlearn-default" and expected and floor and aji <= floor:
            problems.append(f"{dataset}: {row} has AJI {aji:.3f}, Otsu {floor:.3f}")
    return problems


def _check_classes(runs: list[dict]) -> list[str]:
    """Compare the F1 of positive and negative nuclei with what it must be."""
    problems = []
    for run in runs:
        where = f"{run['dataset']}, {run['row']}"
        f1 = criterion(run["counts"])
        expected = FLOOR_F1.get(run["dataset"])
        if run["row"] == "colour-log-hue" and expected:
            if abs(f1 - expected) > TOLERANCE:
                problems.append(f"{where}: mean F1 is {f1:.3f}, not {expected}")
        if run["row"] in LABEL_FREE and expected and f1 < LEAST_F1:
            problems.append(f"{where}: mean F1 is {f1:.3f}, below {LEAST_F1}")
    return problems


def _check_lesions(runs: list[dict]) -> list[str]:
    """Tell which Dice of lesions is none: some are left in every fold."""
    problems = []
    for run in runs:
        outcome = run["outcome"]
        for variant in outcome.counts:
            scores = weak.summarise(outcome, variant, outcome.folds >= 0)
            for name in weak.DICE:
                if not 0 <= scores[name] <= 1:
                    where = f"{run['dataset']}, {run['row']}, {variant}"
                    problems.append(f"{where}: {name} is {scores[name]}")
    return problems
