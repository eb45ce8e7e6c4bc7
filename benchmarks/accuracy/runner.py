# SPDX-License-Identifier: BSD-3-Clause
"""Running a row: in a process of its own, kept on disk, never run twice.

``FOLDER/DATASET/ROW/seed-N/`` holds ``masks/NAME.tif`` (the predicted label images), or
``points/NAME.csv`` of rows that predict points, and ``run.json``, written last: a
folder without it was not finished and is run again; rows that are run in folds, see
`folds`, then go on where they were broken off.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.accuracy import datasets, machine
from benchmarks.accuracy.rows import ROWS, Row
from benchmarks.accuracy.rows_ki67 import ROWS_KI67
from benchmarks.accuracy.rows_weak import ROWS_WEAK
from psmlearn.io import (
    atomic_path,
    read_labels,
    read_points,
    write_labels,
    write_points,
)

RECORD = "run.json"
ALL_ROWS: dict[str, Row] = ROWS | ROWS_KI67 | ROWS_WEAK


def rows_of(kind: str, names: list[str]) -> list[str]:
    """Keep the rows that run on data sets of a kind."""
    return [name for name in names if ALL_ROWS[name].kind == kind]


def run_folder(output: Path, dataset: str, row: str, seed: int) -> Path:
    """Name the folder of a run."""
    return output / dataset / row / f"seed-{seed}"


def is_finished(folder: Path) -> bool:
    """Tell whether a run is there, whole."""
    return (folder / RECORD).is_file()


def run_in_process(
    data: Path, output: Path, dataset: str, row: str, seed: int, quick: bool
) -> None:
    """Run a row in a new process, so that time and memory are its own."""
    command = [
        *(sys.executable, "-m", "benchmarks.accuracy.runner"),
        *(str(data), str(output), dataset, row, str(seed), str(int(quick))),
    ]
    subprocess.run(command, check=True)


def run_row(
    data: Path, output: Path, name: str, row: str, seed: int, quick: bool
) -> None:
    """Run a row on a data set and keep what it predicts."""
    dataset = datasets.load(name, data)
    if quick:
        dataset = datasets.quick(dataset)
    folder = run_folder(output, dataset.name, row, seed)
    place = (folder,) if ALL_ROWS[row].resumes else ()
    predictions, own = ALL_ROWS[row].run(dataset, seed, quick, *place)
    for image, prediction in zip(dataset.names, predictions, strict=True):
        _write_prediction(folder, image, np.asarray(prediction))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    record = {
        "dataset": dataset.name,
        "row": row,
        "seed": seed,
        "n_images": len(dataset.images),
        "quick": quick,
        "peak_memory_gib": machine.peak_memory(),
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        **own,
    }
    with atomic_path(folder / RECORD) as part:
        Path(part).write_text(json.dumps(record, indent=1))


def read_run(folder: Path, dataset: datasets.DataSet) -> tuple[dict, list[np.ndarray]]:
    """Read a finished run: its record, and predictions in the data set's order."""
    record = json.loads((folder / RECORD).read_text())
    return record, [_read_prediction(folder, name) for name in dataset.names]


def _write_prediction(folder: Path, image: str, prediction: np.ndarray) -> None:
    is_mask = prediction.dtype.kind in "iu"
    place = folder / ("masks" if is_mask else "points")
    place.mkdir(parents=True, exist_ok=True)
    if is_mask:
        write_labels(place / f"{image}.tif", prediction)
    else:
        write_points(place / f"{image}.csv", prediction)


def _read_prediction(folder: Path, image: str) -> np.ndarray:
    path = folder / "points" / f"{image}.csv"
    if path.is_file():
        return read_points(path)
    return read_labels(folder / "masks" / f"{image}.tif")


if __name__ == "__main__":
    run_row(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        sys.argv[3],
        sys.argv[4],
        int(sys.argv[5]),
        sys.argv[6] == "1",
    )
