# SPDX-License-Identifier: BSD-3-Clause
"""What the quick mode must find, so that a broken benchmark or method is noticed."""

from __future__ import annotations

import sys

import numpy as np

# Otsu's AJI on the quick crops, as measured with scikit-image 0.26.
FLOOR_AJI = {"monuseg-quick": 0.499}
TOLERANCE = 0.02


def check(runs: list[dict]) -> None:
    """Exit with an error where a row's scores cannot be right."""
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
        if row == "psmlearn-default" and expected and floor and aji <= floor:
            problems.append(f"{dataset}: {row} has AJI {aji:.3f}, Otsu {floor:.3f}")
    if problems:
        sys.exit("\n".join(["the quick accuracy run is wrong:", *problems]))
