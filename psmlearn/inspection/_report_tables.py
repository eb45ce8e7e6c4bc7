# SPDX-License-Identifier: BSD-3-Clause
"""What came of each image of a report, and its table of nuclei."""

from __future__ import annotations

import csv
import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from psmlearn.exceptions import PsmlearnWarning
from psmlearn.inspection._columns import canonical
from psmlearn.inspection._report_checks import Finding
from psmlearn.io._batch import ImageBatch
from psmlearn.io._paths import as_path, is_path, printable
from psmlearn.measure import nuclei_table

_WHOLE = {"label", "class", "region"}


@dataclass(frozen=True)
class Source:
    """What came of one image."""

    index: int
    name: str
    image: Any
    labels: Any
    table: Any = None
    truth: Any = None
    pixel_size: float | None = None
    # Whether the pixel size was given, or is what somebody has assumed.
    is_assumed: bool = False


def read_table(path: str | os.PathLike) -> dict[str, Any]:
    """Read a table of nuclei from CSV; what is no number stays text."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{printable(str(path))!r} is an empty file, and no table.")
    columns: dict[str, Any] = {}
    for index, name in enumerate(rows[0]):
        cells = [row[index] if index < len(row) else "" for row in rows[1:]]
        try:
            numbers = np.array([float(cell or "nan") for cell in cells])
        except ValueError:
            columns[name] = np.array(cells)
            continue
        whole = numbers.size and np.isfinite(numbers).all() and name in _WHOLE
        columns[name] = numbers.astype(np.int64) if whole or not cells else numbers
    return columns


def table_of(
    source: Source,
    labels: np.ndarray,
    batch: ImageBatch | None,
    size: float,
    staining: str | None,
    findings: list[Finding],
) -> dict[str, Any]:
    """Return the table of an image by today's names; measured where none came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PsmlearnWarning)
        if source.table is None:
            if batch is None or batch.n_channels < 3 or staining not in ("he", "hdab"):
                return nuclei_table(labels, pixel_size=size)
            two = labels.ndim == 3 or staining == "hdab"
            stains = ("haematoxylin", "dab") if two else ("haematoxylin",)
            return nuclei_table(
                labels,
                batch,  # type: ignore[arg-type]
                pixel_size=size,
                stains=stains,
            )
        own = nuclei_table(labels, pixel_size=size)
    table = _given_table(source)
    if "class" in table and np.asarray(table["class"]).dtype.kind not in "iu":
        del table["class"]
    known = np.searchsorted(own["label"], table["label"])
    known = np.minimum(known, max(len(own["label"]) - 1, 0))
    there = (
        own["label"][known] == table["label"]
        if len(own["label"])
        else np.zeros(len(table["label"]), bool)
    )
    n_lacking = len(own["label"]) - int(np.count_nonzero(there))
    if n_lacking or not there.all():
        findings.append(
            Finding(
                "table",
                f"The table has {len(table['label'])} nuclei and the label image "
                f"{len(own['label'])}; numbers are those of the table.",
            )
        )
    for name in ("class", "centroid_row", "centroid_column"):
        if name not in table and name in own:
            column = np.full(len(there), 0 if name == "class" else np.nan)
            column[there] = own[name][known[there]]
            table[name] = column.astype(own[name].dtype)
    return table


def _given_table(source: Source) -> dict[str, Any]:
    """Check a table that came, or read it."""
    given = source.table
    name = f"tables[{source.index}]"
    if is_path(given):
        given = read_table(as_path(given))
        name += f" ({printable(str(source.table))})"
    try:
        columns = {str(key): np.asarray(given[key]) for key in given}
    except (TypeError, KeyError, IndexError):
        raise TypeError(
            f"{name} must be a dict of columns, a pandas table or the path of a CSV "
            f"file, got {type(given).__name__}."
        ) from None
    lengths = {column.shape for column in columns.values()}
    if "label" not in columns or len(lengths) != 1 or len(lengths.pop()) != 1:
        raise ValueError(
            f"{name} must have a column 'label', and columns of one length; it has "
            f"{list(columns)}."
        )
    if columns["label"].dtype.kind not in "iu" and len(columns["label"]):
        raise ValueError(f"{name}: the column 'label' must hold whole numbers.")
    columns["label"] = columns["label"].astype(np.int64)
    return canonical(columns)
