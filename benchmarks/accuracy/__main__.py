# SPDX-License-Identifier: BSD-3-Clause
"""Accuracy on real images: ``python -m benchmarks.accuracy --data FOLDER``.

Label-free rows train on the images without labels and predict them; masks only
score. Each run is kept with its predicted masks and not run again; all runs that are
there are then scored by every protocol into ``table.csv`` and ``table.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import torch

from benchmarks.accuracy import datasets, figures, quick
from benchmarks.accuracy.protocols import PROTOCOLS
from benchmarks.accuracy.report import write_tables
from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.runner import (
    is_finished,
    read_run,
    run_folder,
    run_in_process,
)

log = logging.getLogger("benchmarks.accuracy")


def main() -> None:
    """Run what is missing, score what is there, write the tables."""
    options = _parse_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.output.mkdir(parents=True, exist_ok=True)
    runs = []
    for name in options.datasets or datasets.available(options.data):
        dataset = datasets.load(name, options.data)
        if options.quick:
            dataset = datasets.quick(dataset)
        for row in options.rows:
            for seed in options.seeds or range(_n_seeds(row, options.quick)):
                _run_if_missing(options, name, dataset.name, row, seed)
        found = _score_runs(options, dataset)
        if options.figures and found:
            figures.draw(dataset, found, options.output, options.figures)
        runs += found
    if not runs:
        sys.exit(f"no data set of the benchmark lies in {options.data}")
    write_tables(options.output, runs, {name: row.title for name, row in ROWS.items()})
    log.info("tables: %s", options.output / "table.md")
    if options.quick:
        quick.check(runs)


def _n_seeds(row: str, quick: bool) -> int:
    """Take one seed for rows that train long, unless there is a GPU for them."""
    if quick or row.endswith("watershed") or row == "local-threshold":
        return 1
    return 3 if torch.cuda.is_available() else ROWS[row].n_seeds


def _run_if_missing(options, name: str, folder: str, row: str, seed: int) -> None:
    if is_finished(run_folder(options.output, folder, row, seed)):
        log.info("%s, %s, seed %d: there", folder, row, seed)
        return
    log.info("%s, %s, seed %d: running", folder, row, seed)
    run_in_process(options.data, options.output, name, row, seed, options.quick)


def _score_runs(options, dataset: datasets.DataSet) -> list[dict]:
    """Score every finished run of a data set, by every protocol."""
    runs = []
    for row in ROWS:
        for folder in sorted((options.output / dataset.name / row).glob("seed-*")):
            if not is_finished(folder):
                continue
            run, masks = read_run(folder, dataset)
            run["scores"] = {
                name: PROTOCOLS[name](dataset.masks, masks)
                for name in options.protocols
            }
            runs.append(run)
            log.info("%s, %s, seed %d: scored", dataset.name, row, run["seed"])
    return runs


def _parse_options():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PSMLEARN_DATA"),
        help="folder that holds monuseg/MoNuSegTrainingData, monuseg/MoNuSegTestData "
        "and cpm15, or some of them; default: PSMLEARN_DATA",
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("benchmarks/results"))
    add("--datasets", nargs="+", choices=list(datasets.LOADERS))
    add("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    add("--protocols", nargs="+", default=list(PROTOCOLS), choices=list(PROTOCOLS))
    add("--seeds", nargs="+", type=int, help="default: 0, or 0 to 2 for cheap rows")
    add("--figures", type=Path, help="folder for a plot and overlays")
    add("--quick", action="store_true", help="crops and short training: 2 minutes")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say by --data or PSMLEARN_DATA where the images are")
    options.data = Path(options.data).absolute()
    return options


if __name__ == "__main__":
    main()
