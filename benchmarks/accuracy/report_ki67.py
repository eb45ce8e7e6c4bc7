# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the rows on positive and negative nuclei, as CSV and Markdown."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.ki67 import (
    CLASSES,
    MAIN_RADII,
    N_DRAWS,
    RADII,
    TARGET,
    compare,
    criterion,
    pooled,
    summarise,
)
from benchmarks.accuracy.report import (
    COST_COLUMNS,
    COSTS,
    cost_cells,
    csv_text,
    mean_and_sd,
    spread_over,
    table_head,
    table_line,
    with_interval,
    with_spread,
)
from psmlearn.io import atomic_path

BASELINES = "colour-"
# Every other image by file name was looked at while the method was made.
HALVES = ("looked_at", "scored_only")
SIGNS = {"positive": "+", "negative": "−"}


class Baselines(NamedTuple):
    """The best baseline of each radius and class.

    Attributes
    ----------
    rows : list of list of str
        Its name, for each radius and class.
    counts : ndarray of shape (images, radii, classes, 3)
        Its counts.
    """

    rows: list[list[str]]
    counts: np.ndarray

    def named(self) -> dict[str, str]:
        """Name the baseline of each score."""
        return {
            f"f1_{label}_{radius}px": self.rows[i][j]
            for i, radius in enumerate(RADII)
            for j, label in enumerate(CLASSES)
        }


def write_tables(output: Path, runs: list[dict], rows: dict) -> None:
    """Write ``ki67_table.csv``, a line a run, and ``ki67_table.md``.

    Parameters
    ----------
    output : Path
        Folder.
    runs : list of dict
        Records of finished runs, with ``counts`` of `ki67.count_images` and the
        images' ``names``, in the same order.
    rows : dict of Row
        What to call each row, and what labels it has seen.
    """
    sets: dict = defaultdict(lambda: defaultdict(list))
    for run in runs:
        sets[run["dataset"]][run["row"]].append(run)
    lines, parts = [], []
    for dataset, found in sets.items():
        found = {row: found[row] for row in sorted(found, key=list(rows).index)}
        best = best_baselines(found)
        lines += _csv_lines(dataset, found, best, rows)
        parts += _markdown(dataset, found, best, rows)
    with atomic_path(output / "ki67_table.csv") as part:
        Path(part).write_text(csv_text(lines))
    with atomic_path(output / "ki67_table.md") as part:
        Path(part).write_text("\n\n".join(parts) + "\n")


def best_baseline(found: dict[str, list[dict]]) -> str | None:
    """Name the one baseline with the best mean F1 of both classes at both radii.

    It is the one that figures show; what is compared, `best_baselines` says.
    """
    baselines = [row for row in found if row.startswith(BASELINES)]
    if not baselines:
        return None
    return max(baselines, key=lambda row: criterion(found[row][0]["counts"]))


def best_baselines(found: dict[str, list[dict]]) -> Baselines | None:
    """Find the baseline with the best pooled F1, for each radius and class by itself.

    Parameters
    ----------
    found : dict of str to list of dict
        Runs of each row; a baseline has one.

    Returns
    -------
    Baselines or None
        None where no baseline was run.
    """
    rows = [row for row in found if row.startswith(BASELINES)]
    if not rows:
        return None
    counts = np.stack([found[row][0]["counts"] for row in rows])
    best = pooled(counts.sum(axis=1))[2].argmax(axis=0)
    radius, label = np.indices(best.shape)
    # Cells are scored one by one, so those of several rows make one baseline.
    chosen = np.moveaxis(counts[best, :, radius, label], 2, 0)
    return Baselines([[rows[i] for i in line] for line in best], chosen)


def _csv_lines(
    dataset: str, found: dict, best: Baselines | None, rows: dict
) -> list[dict]:
    """List a line for each run, and one for the mean of several seeds."""
    lines = []
    for row, seeds in found.items():
        told = {
            "dataset": dataset,
            "row": row,
            "labels": rows[row].labels,
            "n_images": seeds[0]["n_images"],
        }
        own = [_csv_scores([run], best) for run in seeds]
        for run, scores in zip(seeds, own, strict=True):
            costs = {k: run.get(k, run["machine"].get(k)) for k in COSTS}
            known = {"seed": run["seed"], "commit": run["versions"]["commit"]}
            lines.append(told | known | costs | scores)
        if len(seeds) > 1:
            lines.append(told | {"seed": "mean"} | _csv_scores(seeds, best))
    return lines


def _csv_scores(seeds: list[dict], best: Baselines | None) -> dict:
    scores = {k: round(mean, 6) for k, (mean, _) in mean_and_spread(seeds).items()}
    for half, values in f1_of_halves(seeds).items():
        cells = np.ndenumerate(np.mean(values, axis=0))
        for (i, j), value in cells:
            scores[f"f1_{list(CLASSES)[j]}_{RADII[i]}px_{half}"] = round(value, 6)
    if best is not None:
        gains = compare([run["counts"] for run in seeds], best.counts)
        scores |= {f"baseline_{name}": row for name, row in best.named().items()}
        for name, values in gains.items():
            for end, value in zip(("", "_low", "_high"), values, strict=True):
                scores[f"gain_{name}{end}"] = round(float(value), 6)
    return scores


def mean_and_spread(seeds: list[dict]) -> dict[str, tuple[float, float]]:
    """Compute the mean of each score over seeds, and its standard deviation."""
    return spread_over([summarise(run["counts"]) for run in seeds])


def f1_of_halves(seeds: list[dict]) -> dict[str, np.ndarray]:
    """Pool F1 over every other image by file name, and over the others.

    Parameters
    ----------
    seeds : list of dict
        Runs of one row.

    Returns
    -------
    dict of str to ndarray of shape (seeds, radii, classes)
        Of both halves; NaN where a half has no image.
    """
    # By name, whatever order a data set has; by number where names are numbers.
    names = seeds[0]["names"]
    are_numbers = all(name.isdecimal() for name in names)
    order = np.argsort([int(name) for name in names] if are_numbers else names)
    counts = np.stack([run["counts"] for run in seeds])
    scores = {}
    for start, half in enumerate(HALVES):
        scores[half] = pooled(counts[:, order[start::2]].sum(axis=1))[2]
        if start >= len(order):
            scores[half] = np.full_like(scores[half], np.nan)
    return scores


def _markdown(
    dataset: str, found: dict, best: Baselines | None, rows: dict
) -> list[str]:
    n_images = next(iter(found.values()))[0]["n_images"]
    head = f"### {dataset}, {n_images} images"
    parts = [head, _score_table(found, rows), _count_table(found, rows)]
    if best is not None and len(found) > 1:
        parts += [_comparison(found, best, rows)]
    return [*parts, _half_table(found, rows)]


def _score_table(found: dict, rows: dict) -> str:
    """Write precision, recall and F1 of each class at the main radii."""
    shown = [(radius, label) for radius in MAIN_RADII for label in CLASSES]
    columns = [f"{SIGNS[label]} P / R / F1, {radius} px" for radius, label in shown]
    overall = [f"F1 of all, {radius} px" for radius in MAIN_RADII]
    lines = table_head(["row", "labels", "seeds", *columns, *overall])
    for row, seeds in found.items():
        scores = mean_and_spread(seeds)
        cells = [rows[row].title, rows[row].labels, str(len(seeds))]
        for radius, label in shown:
            names = [f"{name}_{label}_{radius}px" for name in ("precision", "recall")]
            parts = [f"{scores[name][0]:.3f}" for name in names]
            told = with_spread(scores[f"f1_{label}_{radius}px"])
            cells.append(" / ".join([*parts, f"**{told}**"]))
        cells += [with_spread(scores[f"f1_overall_{r}px"]) for r in MAIN_RADII]
        lines.append(table_line(cells))
    return "\n".join(lines)


def _count_table(found: dict, rows: dict) -> str:
    """Write errors of counts and of the labelling index, and what a run costs."""
    columns = ["row", "MP", "MN", "MA", "index: Pearson", "Spearman", "error, points"]
    lines = table_head([*columns, *COST_COLUMNS])
    for row, seeds in found.items():
        scores = mean_and_spread(seeds)
        counts = [with_spread(scores[name], 1) for name in ("mp", "mn", "ma")]
        index = [with_spread(scores[f"index_{n}"]) for n in ("pearson", "spearman")]
        error = with_spread(scores["index_error"], 1)
        cells = [rows[row].title, *counts, *index, error, *cost_cells(seeds)]
        lines.append(table_line(cells))
    return "\n".join(lines)


def _comparison(found: dict, best: Baselines, rows: dict) -> str:
    """Write the difference in F1 to the best baselines, with its interval."""
    shown = [f"f1_{label}_{radius}px" for radius in RADII for label in CLASSES]
    named = best.named()
    lines = table_head(["row", *_columns(RADII)])
    names = [f"*{_short(rows[named[name]].title)}*" for name in shown]
    lines.append(table_line(["*best baseline*", *names]))
    for row, seeds in found.items():
        gains = compare([run["counts"] for run in seeds], best.counts)
        cells = [
            "it is the best"
            if row == named[name]
            else with_interval(*gains[name], TARGET)
            for name in shown
        ]
        lines.append(table_line([rows[row].title, *cells]))
    text = (
        "F1 less that of the best baseline. Which is the best is chosen for each class "
        "and radius by itself, by F1 on these very images, in favour of the baselines; "
        "the first line names it. In brackets the 95 % interval of a paired bootstrap "
        f"over the images ({N_DRAWS:,} draws), against the baseline that is named, in "
        f"every draw the same. Bold: at least {TARGET:.2f}."
    )
    return "\n".join([*lines, "", text])


def _half_table(found: dict, rows: dict) -> str:
    """Write F1 of both halves of the images: looked at, and scored only."""
    columns = [
        f"{column}, {half.replace('_', ' ')}"
        for column in _columns(RADII)
        for half in HALVES
    ]
    lines = table_head(["row", *columns])
    for row, seeds in found.items():
        halves = f1_of_halves(seeds)
        cells = []
        for i, j in np.ndindex(len(RADII), len(CLASSES)):
            for half in HALVES:
                cells.append(with_spread(mean_and_sd(halves[half][:, i, j])))
        lines.append(table_line([rows[row].title, *cells]))
    n_images = next(iter(found.values()))[0]["n_images"]
    n_looked_at = (n_images + 1) // 2
    text = (
        "**By halves.** Pooled F1 of every other image by file name, beginning with "
        f"the first ({n_looked_at} images), whose truth was *looked at* while the "
        f"method was made; and of the others ({n_images - n_looked_at} images), which "
        "were *scored only*. The halves are not equally hard, so compare rows within a "
        "column: baselines choose parameters on all other images, in both halves alike."
    )
    return "\n".join([text, "", *lines])


def _columns(radii: tuple[int, ...]) -> list[str]:
    return [f"{SIGNS[label]} {radius} px" for radius in radii for label in CLASSES]


def _short(title: str) -> str:
    return title.split(",")[0]
