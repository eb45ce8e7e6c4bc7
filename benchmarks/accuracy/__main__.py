# SPDX-License-Identifier: BSD-3-Clause
"""Accuracy on real images: ``python -m benchmarks.accuracy --data FOLDER``.

Label-free rows train without labels, on the set's training images where it has such,
else on the images that they predict; masks only score. Each run is kept with its
predicted masks and not run again; all runs that are there are then scored by every
protocol into ``table.csv`` and ``table.md``, and for positive and negative nuclei in
Ki-67 stain into ``ki67_table.csv`` and ``ki67_table.md``. Rows that learn masks from
image labels are run in folds by patient, each kept when it is done, and scored into
``weak_table.csv`` and ``weak_table.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.accuracy import (
    datasets,
    figures,
    figures_ki67,
    figures_weak,
    quick,
    report_ki67,
    report_weak,
)
from benchmarks.accuracy.folds import read_outcome
from benchmarks.accuracy.ki67 import count_images
from benchmarks.accuracy.protocols import PROTOCOLS
from benchmarks.accuracy.report import write_tables
from benchmarks.accuracy.runner import (
    ALL_ROWS,
    is_finished,
    read_run,
    rows_of,
    run_folder,
    run_in_process,
)

log = logging.getLogger("benchmarks.accuracy")
FIGURES = {
    "he": figures.draw,
    "ki67": figures_ki67.draw,
    "weak": figures_weak.draw,
}


def main() -> None:
    """Run what is missing, score what is there, write the tables."""
    options = _parse_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.output.mkdir(parents=True, exist_ok=True)
    runs, failed = [], []
    for name in datasets.available(options.data):
        is_wanted = not options.datasets or name in options.datasets
        if name in datasets.WEAK and not _needs_weak(options, name, is_wanted):
            continue
        dataset = datasets.load(name, options.data)
        if options.quick:
            dataset = datasets.quick(dataset)
        if is_wanted:
            failed += _run_missing(options, name, dataset)
        found = _score_runs(options, dataset)
        if options.figures and found:
            FIGURES[dataset.kind](dataset, found, options.output, options.figures)
        runs += found
    _write_all_tables(options.output, runs)
    if failed:
        sys.exit(f"these rows failed, see above: {', '.join(failed)}")
    if not runs:
        sys.exit(f"no data set of the benchmark lies in {options.data}")
    if options.quick:
        quick.check(runs)


def _needs_weak(options, name: str, is_wanted: bool) -> bool:
    """Tell whether a weak set is to be loaded, which takes long, and nibabel."""
    will_run = is_wanted and rows_of("weak", options.rows)
    folder = f"{name}-quick" if options.quick else name
    return bool(will_run) or (options.output / folder).is_dir()


def _write_all_tables(output: Path, runs: list[dict]) -> None:
    """Write the tables of each kind of data set of which there are runs."""
    writers = {"he": (write_tables, "table.md")}
    writers["ki67"] = (report_ki67.write_tables, "ki67_table.md")
    writers["weak"] = (report_weak.write_tables, "weak_table.md")
    for kind, (write, name) in writers.items():
        found = [run for run in runs if ALL_ROWS[run["row"]].kind == kind]
        if found:
            write(output, found, ALL_ROWS)
            log.info("tables: %s", output / name)


def _run_missing(options, name: str, dataset: datasets.DataSet) -> list[str]:
    """Run the rows that are not there yet; tell those that failed."""
    failed, folder = [], dataset.name
    for row in rows_of(dataset.kind, options.rows):
        for seed in _seeds(row, options):
            told = f"{folder}, {row}, seed {seed}"
            if is_finished(run_folder(options.output, folder, row, seed)):
                log.info("%s: there", told)
                continue
            log.info("%s: running", told)
            try:
                run_in_process(
                    options.data, options.output, name, row, seed, options.quick
                )
            except subprocess.CalledProcessError:
                failed.append(told)
    return failed


def _seeds(row: str, options) -> list[int]:
    """List the seeds of a row: three where a GPU makes training short."""
    if not ALL_ROWS[row].is_trained:
        return [0]
    if options.seeds or options.quick:
        return options.seeds or [0]
    return [0, 1, 2] if torch.cuda.is_available() else [0]


def _score_runs(options, dataset: datasets.DataSet) -> list[dict]:
    """Score every finished run of a data set, by every protocol of its kind."""
    runs = []
    for row in rows_of(dataset.kind, list(ALL_ROWS)):
        for folder in sorted((options.output / dataset.name / row).glob("seed-*")):
            if not is_finished(folder):
                continue
            run, predictions = read_run(folder, dataset)
            run["names"] = dataset.names
            if dataset.kind == "ki67":
                run["counts"] = count_images(dataset, predictions)
            elif dataset.kind == "weak":
                run["outcome"] = read_outcome(folder, dataset, run)
            else:
                run["scores"] = {
                    name: PROTOCOLS[name](dataset.masks, predictions)
                    for name in options.protocols
                }
            runs.append(run)
            log.info("%s, %s, seed %d: scored", dataset.name, row, run["seed"])
    return runs


def _default_rows(quick: bool) -> list[str]:
    """List the rows that are run without being named."""
    if quick:  # brain slices take long to load
        return [name for name, row in ALL_ROWS.items() if row.kind != "weak"]
    has_gpu = torch.cuda.is_available()
    return [name for name, row in ALL_ROWS.items() if has_gpu or not row.needs_gpu]


def _parse_options():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PSMLEARN_DATA"),
        help="folder that holds monuseg/MoNuSegTrainingData, monuseg/MoNuSegTestData, "
        "cpm15, ki67_fields, ki67_glioma, bcdata, lgg_mri, lgg_volumes and "
        "brats2013, or some of them; default: PSMLEARN_DATA",
    )
    add = parser.add_argument
    add("--output", type=Path, help="default: benchmarks/results, or quick in it")
    add("--datasets", nargs="+", choices=list(datasets.LOADERS))
    add(
        "--rows",
        nargs="*",
        choices=list(ALL_ROWS),
        help="each runs on the data sets of its kind only; default: all but those that "
        "take too long: without a GPU crs-paper, with --quick those of brain slices",
    )
    add(
        "--protocols",
        nargs="+",
        default=list(PROTOCOLS),
        choices=list(PROTOCOLS),
        help="of H&E; the others have one each of their own",
    )
    add(
        "--seeds",
        nargs="+",
        type=int,
        help="of rows that train; default: 0, with a GPU 0 1 2",
    )
    add("--figures", type=Path, help="folder for a plot and overlays")
    add("--quick", action="store_true", help="crops and short training: 2 minutes")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say by --data or PSMLEARN_DATA where the images are")
    if (options.figures or options.quick) and "full" not in options.protocols:
        parser.error("figures and the quick mode need the protocol full")
    if options.rows is None:
        options.rows = _default_rows(options.quick)
    options.data = Path(options.data).absolute()
    if options.output is None:
        options.output = Path("benchmarks/results") / ("quick" if options.quick else "")
    return options


if __name__ == "__main__":
    main()
