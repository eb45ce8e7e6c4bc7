# SPDX-License-Identifier: BSD-3-Clause
"""Tables of nuclei, read back."""

from __future__ import annotations

import csv

import numpy as np

__all__ = ["read_parquet", "read_table"]


def read_table(path: str) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file of numbers."""
    with open(path, encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
        lines = file.readlines()
    values = np.empty((0, len(names)))
    if lines:
        values = np.loadtxt(lines, delimiter=",", ndmin=2)
    values = values.reshape(-1, len(names))
    columns = {}
    for place, name in enumerate(names):
        column = values[:, place]
        is_whole = name in ("label", "class") or name.startswith("bbox_")
        columns[name] = column.astype(np.int64) if is_whole else column
    return columns


def read_parquet(path: str) -> dict[str, np.ndarray]:
    """Return the columns of a Parquet file of numbers."""
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}
