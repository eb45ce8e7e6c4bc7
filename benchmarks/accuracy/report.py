# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the accuracy benchmark, as CSV and Markdown."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

COLUMNS = ["aji", "aji_plus", "dice", "f1", "pq"]
COSTS = ["fit_seconds", "predict_seconds", "peak_memory_gb"]


def read_rows(folder: Path) -> list[dict]:
    """Return all finished rows of a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def write_tables(folder: Path) -> None:
    """Write ``table.csv`` (a line a run) and ``table.md`` (mean and spread)."""
    rows = read_rows(folder)
    names = ["row", "seed", "n_images", *COLUMNS, *COSTS]
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    groups = defaultdict(list)
    for row in rows:
        groups[row["row"], row["n_images"]].append(row)
    lines = [
        "| row | images | seeds | " + " | ".join(COLUMNS + COSTS) + " |",
        "|" + "---|" * (3 + len(COLUMNS) + len(COSTS)),
    ]
    for (name, n_images), group in sorted(groups.items()):
        cells = [_mean_and_spread([row[c] for row in group]) for c in COLUMNS]
        cells += [f"{np.mean([row[c] for row in group]):.1f}" for c in COSTS]
        lines.append(
            f"| {name} | {n_images} | {len(group)} | " + " | ".join(cells) + " |"
        )
    (folder / "table.md").write_text("\n".join(lines) + "\n")


def _mean_and_spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
