# SPDX-License-Identifier: BSD-3-Clause
"""Columns of tables of nuclei: what they are called, and in what unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# What tables of earlier releases called the same.
_OLD_NAMES = {
    "area": "area_um2",
    "perimeter": "perimeter_um",
    "equivalent_diameter": "equivalent_diameter_um",
    "major_axis": "major_axis_um",
    "minor_axis": "minor_axis_um",
    "mean_haematoxylin": "mean_haematoxylin_od",
    "mean_eosin": "mean_eosin_od",
    "mean_dab": "mean_dab_od",
}
_UNITS = {"_um2": "µm²", "_um": "µm", "_od": "OD"}
_ACRONYMS = {"dab": "DAB"}
# What tells where a nucleus is, and not what it is like.
PLACES = frozenset(
    {
        "label",
        "class",
        "region",
        "image",
        "centroid_row",
        "centroid_column",
        "bbox_min_row",
        "bbox_min_column",
        "bbox_max_row",
        "bbox_max_column",
    }
)


def canonical(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table whose columns have today's names."""
    return {_OLD_NAMES.get(str(name), str(name)): table[name] for name in table}


def describe_column(name: str) -> tuple[str, str]:
    """Return what a column is called in a text, and its unit ("" for none)."""
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return _words(name.removesuffix(ending)), unit
    return _words(name), ""


def _words(name: str) -> str:
    words = [_ACRONYMS.get(word, word) for word in name.split("_")]
    text = " ".join(word for word in words if word)
    return text[:1].upper() + text[1:]


def measured_columns(table: Mapping[str, np.ndarray]) -> list[str]:
    """List the columns of numbers that say what nuclei are like."""
    return [
        name
        for name, values in table.items()
        if name not in PLACES and np.asarray(values).dtype.kind in "iuf"
    ]
