# SPDX-License-Identifier: BSD-3-Clause
"""Tables of the accuracy benchmark, as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from psmlearn.io import atomic_path

COSTS = (
    "fit_seconds",
    "predict_seconds",
    "cpu_seconds",
    "peak_memory_gib",
    "threads",
)
COST_COLUMNS = ("fit s", "predict s an image", "CPU s", "peak GiB", "threads")
# Of these, every other image by file name, from the first, helped to choose defaults.
HALVED = ("monuseg", "monuseg-quick")
OF_HALVES = ("aji", "dice", "f1")
# Columns of the Markdown tables; the CSV holds every score.
SHOWN = {
    "full": (
        *("aji", "aji_plus", "dice", "f1", "pq"),
        *("detection_f1_6px", "detection_f1_10px", "detection_f1_12px"),
    ),
    "psm-paper": ("pixel_iou", "pixel_f1", "object_dice", "aji_code", "aji"),
}


def read_quoted() -> list[dict]:
    """Read the rows that are quoted from publications."""
    return json.loads(Path(__file__).with_name("quoted.json").read_text())


def write_tables(output: Path, runs: list[dict], rows: dict) -> None:
    """Write ``table.csv``, a line a run, and ``table.md``, means and spread.

    Parameters
    ----------
    output : Path
        Folder.
    runs : list of dict
        Records of finished runs, with ``scores`` (by protocol and name, a value an
        image).
    rows : dict of Row
        What to call each row, and what labels it has seen.
    """
    quoted = read_quoted()
    with atomic_path(output / "table.csv") as part:
        Path(part).write_text(_csv(runs, quoted, rows))
    with atomic_path(output / "table.md") as part:
        Path(part).write_text(_markdown(runs, quoted, rows))


def _csv(runs: list[dict], quoted: list[dict], rows: dict) -> str:
    lines = []
    for run in runs:
        known = {k: run[k] for k in ("dataset", "row", "seed", "n_images")}
        known |= {
            "labels": rows[run["row"]].labels,
            "commit": run["versions"]["commit"],
        }
        costs = {k: run.get(k, run["machine"].get(k)) for k in COSTS}
        for protocol, scores in run["scores"].items():
            means = {name: round(mean, 6) for name, mean in _means(scores).items()}
            lines.append(known | {"protocol": protocol} | costs | means)
    for quote in quoted:
        told = {"row": f"{quote['title']} (quoted)", "quoted_from": quote["source"]}
        told |= {k: quote[k] for k in ("dataset", "protocol", "labels")}
        lines.append(told | quote["scores"])
    first = ["dataset", "protocol", "row", "labels", "seed", "n_images", "quoted_from"]
    return csv_text(lines, [*first, *COSTS])


def csv_text(lines: list[dict], first: Sequence[str] = ()) -> str:
    """Write lines as CSV; columns are in the order they come in, some first."""
    names = dict.fromkeys([*first, *(name for line in lines for name in line)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _markdown(runs: list[dict], quoted: list[dict], rows: dict) -> str:
    """Write one table for each data set and protocol, and one of quoted rows."""
    groups: dict = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for protocol in run["scores"]:
            groups[run["dataset"], protocol][run["row"]].append(run)
    parts = []
    for (dataset, protocol), found in groups.items():
        shown = SHOWN[protocol]
        n_images = next(iter(found.values()))[0]["n_images"]
        title = f"### {dataset}, protocol {protocol}, {n_images} images\n"
        lines = [title, *table_head(["row", "labels", "seeds", *shown, *COST_COLUMNS])]
        for row in sorted(found, key=list(rows).index):
            seeds = found[row]
            means = [_means(run["scores"][protocol]) for run in seeds]
            scores = spread_over(means)
            cells = [with_spread(scores[name]) for name in shown]
            told = [rows[row].title, rows[row].labels, str(len(seeds))]
            lines.append(table_line([*told, *cells, *cost_cells(seeds)]))
        parts.append("\n".join(lines))
        if dataset in HALVED and protocol == "full":
            parts.append(_half_table(found, rows))
    return "\n\n".join([*parts, _quoted_table(quoted)]) + "\n"


def _half_table(found: dict, rows: dict) -> str:
    """Write scores of the half that helped to choose, and of the one only scored."""
    columns = [f"{name}, {half}" for name in OF_HALVES for half in ("odd", "even")]
    lines = [
        "**By halves.** Images by file name, from 1: masks of the odd ones helped to "
        "choose defaults, the even ones were scored only.\n",
        *table_head(["row", *columns]),
    ]
    for row in sorted(found, key=list(rows).index):
        cells = []
        for name in OF_HALVES:
            for start in (0, 1):
                means = []
                for run in found[row]:
                    order = np.argsort(run["names"])[start::2]
                    values = np.asarray(run["scores"]["full"][name])[order]
                    means.append(values.mean() if len(order) else np.nan)
                cells.append(with_spread(mean_and_sd(means)))
        lines.append(table_line([rows[row].title, *cells]))
    return "\n".join(lines)


def _quoted_table(quoted: list[dict]) -> str:
    shown = ("aji", "dice", "iou", "object_dice", "pq")
    columns = ["row", "labels", "data", *shown, "protocol", "source"]
    lines = ["### Quoted from publications, not run by us\n", *table_head(columns)]
    for quote in quoted:
        cells = [_number(quote["scores"].get(name)) for name in shown]
        told = [f"{quote['title']} (quoted)", quote["labels"], quote["dataset"], *cells]
        lines.append(table_line([*told, quote["protocol"], quote["source"]]))
    return "\n".join(lines)


def _means(scores: dict) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in scores.items()}


def table_head(columns: list[str]) -> list[str]:
    """Write the two first lines of a table in Markdown."""
    return [table_line(columns), "|" + "---|" * len(columns)]


def table_line(cells: list[str]) -> str:
    """Write a line of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def spread_over(scores: list[dict]) -> dict[str, tuple[float, float]]:
    """Compute the mean of each score over seeds, and its standard deviation."""
    return {name: mean_and_sd([one[name] for one in scores]) for name in scores[0]}


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Compute mean and standard deviation; that of a single value is NaN."""
    spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(spread)


def with_spread(value: tuple[float, float], digits: int = 3) -> str:
    """Tell a mean and its standard deviation, if there is one."""
    mean, spread = value
    if np.isnan(mean):
        return "none"
    told = f"{mean:.{digits}f}"
    return told if np.isnan(spread) else f"{told} ± {spread:.{digits}f}"


def with_interval(gain: float, low: float, high: float, bold_from=np.inf) -> str:
    """Tell a gain and its interval; in bold from some gain on."""
    told = f"{gain:+.3f}"
    if gain >= bold_from:
        told = f"**{told}**"
    return f"{told} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def cost_cells(seeds: list[dict]) -> list[str]:
    """Tell what the runs of a row took, as `COST_COLUMNS`."""
    predict = [run["predict_seconds"] / run["n_images"] for run in seeds]
    threads = sorted({run["machine"]["threads"] for run in seeds})
    return [
        f"{np.mean([run['fit_seconds'] for run in seeds]):.0f}",
        f"{np.mean(predict):.2f}",
        f"{np.mean([run['cpu_seconds'] for run in seeds]):.0f}",
        f"{max(run['peak_memory_gib'] for run in seeds):.1f}",
        ", ".join(map(str, threads)),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
