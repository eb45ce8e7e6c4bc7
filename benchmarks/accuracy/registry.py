# SPDX-License-Identifier: BSD-3-Clause
"""All rows by name, those of each kind of data set."""

from __future__ import annotations

from benchmarks.accuracy.rows import ROWS, Row
from benchmarks.accuracy.rows_ki67 import ROWS_KI67
from benchmarks.accuracy.rows_weak import ROWS_WEAK

ALL_ROWS: dict[str, Row] = ROWS | ROWS_KI67 | ROWS_WEAK


def rows_of(kind: str, names: list[str]) -> list[str]:
    """Keep the rows that run on data sets of a kind."""
    return [name for name in names if ALL_ROWS[name].kind == kind]
