# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the rows that learn masks from image labels, as CSV and Markdown."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.report import (
    csv_text,
    spread_over,
    table_head,
    table_line,
    with_interval,
    with_spread,
)
from benchmarks.accuracy.weak import (
    DICE,
    GATED,
    GATED_LABELER,
    HALF_LOOKED_AT,
    LABELER,
    LOOKED_AT,
    N_DRAWS,
    PLAIN,
    REFINED,
    UNREFINED,
    compare,
    parts,
    summarise,
)
from psmlearn.io import atomic_path

# How each kind of prediction is told in tables.
VARIANTS = {
    PLAIN: "",
    GATED: "gated",
    UNREFINED: "maps as they are",
    REFINED: "maps refined by values",
    LABELER: "its labeler's",
    GATED_LABELER: "its labeler's, gated",
}
# Row and kind of prediction, and those they are compared with.
COMPARED = (
    (("cam-rec", PLAIN), ("cam-plain", PLAIN)),
    (("cam-cluster", PLAIN), ("cam-plain", PLAIN)),
    (("cam-crs", PLAIN), ("cam-plain", PLAIN)),
    (("cam-crs", GATED), ("cam-plain", GATED)),
    (("cam-rec", UNREFINED), ("cam-plain", PLAIN)),
    (("cam-crs", UNREFINED), ("cam-plain", PLAIN)),
    (("cam-crs", PLAIN), ("cam-crs", UNREFINED)),
    (("cam-crs", PLAIN), ("cam-plain", REFINED)),
    (("cam-crs", PLAIN), ("cam-unsuppressed", PLAIN)),
    (("cam-crs", PLAIN), ("crs-paper", PLAIN)),
    (("crs-unet", PLAIN), ("crs-unet", LABELER)),
    (("crs-unet", PLAIN), ("crs-unet", GATED_LABELER)),
)
COSTS = ("fit s a fold", "CPU s a fold", "predict s an image", "peak GiB", "threads")


class Gain(NamedTuple):
    """How much better one kind of prediction is than another.

    Attributes
    ----------
    better, worse : tuple of (str, str)
        Row and kind of prediction.
    seeds : list of int
        Those that both were run with.
    values : dict of str to dict
        Of each part of the images, what `weak.compare` tells.
    """

    better: tuple[str, str]
    worse: tuple[str, str]
    seeds: list[int]
    values: dict[str, dict[str, tuple[float, float, float]]]


def write_tables(output: Path, runs: list[dict], rows: dict) -> None:
    """Write ``weak_table.csv`` and ``weak_table.md``.

    Parameters
    ----------
    output : Path
        Folder.
    runs : list of dict
        Records of finished runs, with the ``outcome`` of `folds.read_outcome`.
    rows : dict of Row
        What to call each row, and what labels it has seen.
    """
    sets: dict = defaultdict(lambda: defaultdict(list))
    for run in runs:
        sets[run["dataset"]][run["row"]].append(run)
    lines, texts = [], []
    for dataset, found in sets.items():
        found = {row: found[row] for row in sorted(found, key=list(rows).index)}
        gains = find_gains(dataset, found)
        lines += _csv_lines(dataset, found, gains, rows)
        texts += _markdown(dataset, found, gains, rows)
    with atomic_path(output / "weak_table.csv") as part:
        Path(part).write_text(csv_text(lines))
    with atomic_path(output / "weak_table.md") as part:
        Path(part).write_text("\n\n".join(texts) + "\n")


def find_gains(dataset: str, found: dict[str, list[dict]]) -> list[Gain]:
    """Compare the rows that are there, with the seeds that both have."""
    gains = []
    for better, worse in COMPARED:
        sides = [
            {
                run["seed"]: (run["outcome"], variant)
                for run in found.get(row, [])
                if variant in run["outcome"].counts
            }
            for row, variant in (better, worse)
        ]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            continue
        pairs = [[side[seed] for seed in seeds] for side in sides]
        values = {
            part: compare(*pairs, dataset, part) for part in _parts(dataset, found)
        }
        gains.append(Gain(better, worse, seeds, values))
    return gains


def _parts(dataset: str, found: dict) -> list[str]:
    outcome = next(iter(found.values()))[0]["outcome"]
    return list(parts(dataset, outcome))


def variants_of(seeds: list[dict]) -> list[str]:
    """List the kinds of prediction of a row; a gate that changes nothing is none."""
    every = [run["outcome"].counts for run in seeds]
    told = []
    for variant in VARIANTS:
        if not all(variant in counts for counts in every):
            continue  # runs of an earlier version
        if variant == GATED and all(
            np.array_equal(counts[GATED], counts[PLAIN]) for counts in every
        ):
            continue
        told.append(variant)
    return told


def mean_and_spread(
    seeds: list[dict], variant: str, part: str
) -> dict[str, tuple[float, float]]:
    """Compute the mean of each score over seeds, and its standard deviation."""
    scores = []
    for run in seeds:
        rows = parts(run["dataset"], run["outcome"])[part]
        scores.append(summarise(run["outcome"], variant, rows))
    return spread_over(scores)


def _csv_lines(dataset: str, found: dict, gains: list[Gain], rows: dict) -> list[dict]:
    """List a line for each run, prediction and part, for means, and for gains."""
    lines = []
    names = _parts(dataset, found)
    for row, seeds in found.items():
        for variant in variants_of(seeds):
            for part in names:
                told = {"dataset": dataset, "row": row, "labels": rows[row].labels}
                told |= {"prediction": variant, "part": part}
                for run in seeds:
                    known = {"seed": run["seed"], "folds": _n_folds(run)}
                    costs = _run_costs(run)
                    scores = _rounded(mean_and_spread([run], variant, part))
                    lines.append(told | known | scores | costs)
                if len(seeds) > 1:
                    mean = mean_and_spread(seeds, variant, part)
                    spread = {f"{k}_sd": round(v, 6) for k, (_, v) in mean.items()}
                    lines.append(told | {"seed": "mean"} | _rounded(mean) | spread)
    for gain in gains:
        for part, values in gain.values.items():
            row, variant = gain.better
            told = {"dataset": dataset, "row": row, "labels": rows[row].labels}
            told |= {"prediction": variant, "part": part}
            told |= {"seed": " ".join(map(str, gain.seeds))}
            told |= {"gain_over": ", ".join(gain.worse)}
            for name, three in values.items():
                for end, value in zip(("", "_low", "_high"), three, strict=True):
                    told[f"gain_{name}{end}"] = round(value, 6)
            lines.append(told)
    return lines


def _rounded(scores: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: round(mean, 6) for name, (mean, _) in scores.items()}


def _ran(run: dict) -> list[dict]:
    return [fold for fold in run["folds"] if "skipped" not in fold]


def _n_folds(run: dict) -> str:
    return f"{len(_ran(run))} of {len(run['folds'])}"


def _run_costs(run: dict) -> dict:
    """Tell what a run has cost; what folds were run with may differ."""
    folds = _ran(run)
    return {
        "fit_seconds": round(run["fit_seconds"], 3),
        "fit_cpu_seconds": round(sum(one["fit_cpu_seconds"] for one in folds), 3),
        "predict_seconds": round(run["predict_seconds"], 3),
        "cpu_seconds": round(run["cpu_seconds"], 3),
        "peak_memory_gib": round(run["peak_memory_gib"], 3),
        "threads": _different(one["threads"] for one in folds),
        "commit": _different(one["commit"] for one in folds),
    }


def _different(values) -> str:
    return " ".join(map(str, dict.fromkeys(values)))


def _markdown(dataset: str, found: dict, gains: list[Gain], rows: dict) -> list[str]:
    names = _parts(dataset, found)
    texts = [_title(dataset, found), _sizes(dataset, found)]
    texts += [_score_table(names, found, rows), _explanation(dataset, names)]
    if gains:
        texts.append(_gain_table(names, gains, rows))
    texts.append(_cost_table(found, rows))
    skipped = [
        f"{rows[row].title}, seed {run['seed']}: {fold['skipped']}; left out."
        for row, seeds in found.items()
        for run in seeds
        for fold in run["folds"]
        if "skipped" in fold
    ]
    if skipped:
        texts.append("\n".join(["**Folds that were not run.**", "", *skipped]))
    return texts


def _title(dataset: str, found: dict) -> str:
    outcome = next(iter(found.values()))[0]["outcome"]
    # Images to train on alone are in no fold.
    groups = outcome.groups[outcome.folds >= 0]
    return f"### {dataset}, {len(groups)} slices of {len(set(groups))} patients"


def _sizes(dataset: str, found: dict) -> str:
    outcome = next(iter(found.values()))[0]["outcome"]
    told = []
    for part, rows in parts(dataset, outcome).items():
        n_lesions = int((outcome.counts[PLAIN][rows, 1] > 0).sum())
        n_patients = len(set(outcome.groups[rows]))
        told.append(
            f"{part}: {rows.sum()} slices, {n_lesions} of them with a lesion, "
            f"{n_patients} patients"
        )
    return f"Test images: {'; '.join(told)}."


def _score_table(names: list[str], found: dict, rows: dict) -> str:
    columns = ["row", "prediction", "labels", "seeds"]
    columns += [f"slice Dice, {part}" for part in names]
    columns += [f"volume Dice, {part}" for part in names]
    others = ("clean", "image_auc", "image_accuracy")
    told = ("empty slices clean", "image AUC", "image accuracy")
    columns += [f"{name}, {names[0]}" for name in told]
    lines = table_head(columns)
    for row, seeds in found.items():
        for variant in variants_of(seeds):
            scores = {part: mean_and_spread(seeds, variant, part) for part in names}
            cells = [rows[row].title, VARIANTS[variant], rows[row].labels]
            cells.append(_tell_seeds(seeds))
            cells += [_told(scores[part], name) for name in DICE for part in names]
            cells += [_told(scores[names[0]], name) for name in others]
            lines.append(table_line(cells))
    return "\n".join(lines)


def _tell_seeds(seeds: list[dict]) -> str:
    """Tell the number of seeds, and of folds if some were left out."""
    partly = {_n_folds(run) for run in seeds if len(_ran(run)) < len(run["folds"])}
    return ", ".join([str(len(seeds)), *(f"{one} folds" for one in sorted(partly))])


def _told(scores: dict[str, tuple[float, float]], name: str) -> str:
    return with_spread(scores[name]) if name in scores else ""


def _explanation(dataset: str, names: list[str]) -> str:
    text = (
        "Slice Dice: mean over slices with a lesion. Volume Dice: mean over patients, "
        "all slices of a patient stacked, so that false alarms in empty slices count. "
        "Empty slices clean: share of slices without lesion in which nothing was "
        "found. Gated: no object in slices that the classifier of the same network "
        "denies (`require_presence=True`). AUC: mean over folds. ± is the standard "
        "deviation over seeds."
    )
    if dataset in LOOKED_AT:
        text += (
            " Masks of the test patients of the development folds were looked at while "
            "the method was made, those of the report folds were only scored."
        )
    if dataset in HALF_LOOKED_AT:
        text += (
            " Trained once, on all slices of `lgg`. Masks of the first half of the "
            "patients (development) were looked at while the method was made, those of "
            "the second (report) were only scored."
        )
    return text


def _gain_table(names: list[str], gains: list[Gain], rows: dict) -> str:
    columns = ["row", "gain over", "seeds"]
    columns += [
        f"{name} Dice, {part}" for part in names for name in ("slice", "volume")
    ]
    lines = table_head(columns)
    for gain in gains:
        cells = [_name(rows, *gain.better), _name(rows, *gain.worse)]
        cells.append(str(len(gain.seeds)))
        for part in names:
            cells += [with_interval(*gain.values[part][name]) for name in DICE]
        lines.append(table_line(cells))
    text = (
        "Gain in Dice, mean over the seeds that both rows have; in brackets the 95 % "
        f"interval of a paired bootstrap over patients ({N_DRAWS:,} draws)."
    )
    return "\n".join([*lines, "", text])


def _name(rows: dict, row: str, variant: str) -> str:
    return ", ".join([rows[row].title, *filter(None, [VARIANTS[variant]])])


def _cost_table(found: dict, rows: dict) -> str:
    lines = table_head(["row", *COSTS])
    for row, seeds in found.items():
        folds = [fold for run in seeds for fold in _ran(run)]
        n_images = sum(len(fold["test"]) for fold in folds)
        wall, cpu = (
            np.mean([fold[name] for fold in folds])
            for name in ("fit_seconds", "fit_cpu_seconds")
        )
        predict = sum(run["predict_seconds"] for run in seeds) / n_images
        peak = max(run["peak_memory_gib"] for run in seeds)
        threads = sorted({fold["threads"] for fold in folds})
        cells = [rows[row].title, f"{wall:.1f}", f"{cpu:.1f}", f"{predict:.3f}"]
        lines.append(table_line([*cells, f"{peak:.1f}", ", ".join(map(str, threads))]))
    return "\n".join(lines)
