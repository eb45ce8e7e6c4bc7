# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the rows on positive and negative nuclei, as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.accuracy.ki67 import (
    CLASSES,
    MAIN_RADII,
    N_DRAWS,
    RADII,
    TARGET,
    compare,
    criterion,
    summarise,
)
from benchmarks.accuracy.report import COSTS, _costs, _line
from psmlearn.io import atomic_path

BASELINES = "colour-"
REMARKS = {
    "bcdata": "Six images of BCData's test part show that its format is read and "
    "scored; they are too few to rank methods, and no score on BCData."
}
SIGNS = {"positive": "+", "negative": "−"}


def write_tables(output: Path, runs: list[dict], rows: dict) -> None:
    """Write ``ki67_table.csv``, a line a run, and ``ki67_table.md``.

    Parameters
    ----------
    output : Path
        Folder.
    runs : list of dict
        Records of finished runs, with ``counts`` of `ki67.count_images`.
    rows : dict of Row
        What to call each row, and what labels it has seen.
    """
    sets: dict = defaultdict(lambda: defaultdict(list))
    for run in runs:
        sets[run["dataset"]][run["row"]].append(run)
    lines, parts = [], []
    for dataset, found in sets.items():
        found = {row: found[row] for row in sorted(found, key=list(rows).index)}
        best = best_baseline(found)
        lines += _csv_lines(dataset, found, best, rows)
        parts += _markdown(dataset, found, best, rows)
    with atomic_path(output / "ki67_table.csv") as part:
        Path(part).write_text(_csv(lines))
    with atomic_path(output / "ki67_table.md") as part:
        Path(part).write_text("\n\n".join(parts) + "\n")


def best_baseline(found: dict[str, list[dict]]) -> str | None:
    """Name the baseline with the best mean F1 of both classes at both radii."""
    baselines = [row for row in found if row.startswith(BASELINES)]
    if not baselines:
        return None
    return max(baselines, key=lambda row: criterion(found[row][0]["counts"]))


def _csv_lines(dataset: str, found: dict, best: str | None, rows: dict) -> list[dict]:
    """List a line for each run, and one for the mean of several seeds."""
    lines = []
    for row, seeds in found.items():
        told = {
            "dataset": dataset,
            "row": row,
            "labels": rows[row].labels,
            "n_images": seeds[0]["n_images"],
        }
        own = [_csv_scores([run], found, best) for run in seeds]
        for run, scores in zip(seeds, own, strict=True):
            costs = {k: run.get(k, run["machine"].get(k)) for k in COSTS}
            known = {"seed": run["seed"], "commit": run["versions"]["commit"]}
            lines.append(told | known | costs | scores)
        if len(seeds) > 1:
            lines.append(told | {"seed": "mean"} | _csv_scores(seeds, found, best))
    return lines


def _csv_scores(seeds: list[dict], found: dict, best: str | None) -> dict:
    scores = {k: round(mean, 6) for k, (mean, _) in mean_and_spread(seeds).items()}
    if best is not None:
        counts = [run["counts"] for run in seeds]
        gains = compare(counts, found[best][0]["counts"])
        scores["baseline"] = best
        for name, values in gains.items():
            for end, value in zip(("", "_low", "_high"), values, strict=True):
                scores[f"gain_{name}{end}"] = round(float(value), 6)
    return scores


def mean_and_spread(seeds: list[dict]) -> dict[str, tuple[float, float]]:
    """Compute the mean of each score over seeds, and its standard deviation."""
    scores = [summarise(run["counts"]) for run in seeds]
    result = {}
    for name in scores[0]:
        values = [one[name] for one in scores]
        spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
        result[name] = float(np.mean(values)), float(spread)
    return result


def _csv(lines: list[dict]) -> str:
    names = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _markdown(dataset: str, found: dict, best: str | None, rows: dict) -> list[str]:
    n_images = next(iter(found.values()))[0]["n_images"]
    head = f"### {dataset}, {n_images} images"
    if dataset.removesuffix("-quick") in REMARKS:
        return [f"{head}, format only", REMARKS[dataset.removesuffix("-quick")]] + [
            _score_table(found, rows)
        ]
    parts = [head, _score_table(found, rows), _count_table(found, rows)]
    if best is not None and len(found) > 1:
        parts += [_comparison(found, best, rows)]
    return parts


def _score_table(found: dict, rows: dict) -> str:
    """Write precision, recall and F1 of each class at the main radii."""
    shown = [(radius, label) for radius in MAIN_RADII for label in CLASSES]
    columns = [f"{SIGNS[label]} P / R / F1, {radius} px" for radius, label in shown]
    overall = [f"F1 of all, {radius} px" for radius in MAIN_RADII]
    lines = _head(["row", "labels", "seeds", *columns, *overall])
    for row, seeds in found.items():
        scores = mean_and_spread(seeds)
        cells = [rows[row].title, rows[row].labels, str(len(seeds))]
        for radius, label in shown:
            names = [f"{name}_{label}_{radius}px" for name in ("precision", "recall")]
            parts = [f"{scores[name][0]:.3f}" for name in names]
            told = _with_spread(scores[f"f1_{label}_{radius}px"])
            cells.append(" / ".join([*parts, f"**{told}**"]))
        cells += [_with_spread(scores[f"f1_overall_{r}px"]) for r in MAIN_RADII]
        lines.append(_line(cells))
    return "\n".join(lines)


def _count_table(found: dict, rows: dict) -> str:
    """Write errors of counts and of the labelling index, and what a run costs."""
    columns = ["row", "MP", "MN", "MA", "index: Pearson", "Spearman", "error, points"]
    costs = ["fit s", "predict s an image", "CPU s", "peak GiB", "threads"]
    lines = _head([*columns, *costs])
    for row, seeds in found.items():
        scores = mean_and_spread(seeds)
        counts = [_with_spread(scores[name], 1) for name in ("mp", "mn", "ma")]
        index = [_with_spread(scores[f"index_{n}"]) for n in ("pearson", "spearman")]
        error = _with_spread(scores["index_error"], 1)
        cells = [rows[row].title, *counts, *index, error, *_costs(seeds)]
        lines.append(_line(cells))
    return "\n".join(lines)


def _comparison(found: dict, best: str, rows: dict) -> str:
    """Write the difference in F1 to the best baseline, with its interval."""
    shown = [f"f1_{label}_{radius}px" for radius in RADII for label in CLASSES]
    columns = [f"{SIGNS[label]} {radius} px" for radius in RADII for label in CLASSES]
    text = (
        f"F1 less that of the best baseline here, “{rows[best].title}”, with the "
        f"95 % interval of a paired bootstrap over the images ({N_DRAWS:,} draws). "
        f"Bold: at least {TARGET:.2f}."
    )
    lines = [text, "", *_head(["row", *columns])]
    for row, seeds in found.items():
        if row == best:
            continue
        gains = compare([r["counts"] for r in seeds], found[best][0]["counts"])
        cells = [_gain(*gains[name]) for name in shown]
        lines.append(_line([rows[row].title, *cells]))
    return "\n".join(lines)


def _gain(gain: float, low: float, high: float) -> str:
    told = f"{gain:+.3f}"
    if gain >= TARGET:
        told = f"**{told}**"
    return f"{told} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def _head(columns: list[str]) -> list[str]:
    return [_line(columns), "|" + "---|" * len(columns)]


def _with_spread(value: tuple[float, float], digits: int = 3) -> str:
    mean, spread = value
    if np.isnan(mean):
        return "none"
    told = f"{mean:.{digits}f}"
    return told if np.isnan(spread) else f"{told} ± {spread:.{digits}f}"
