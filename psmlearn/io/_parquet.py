# SPDX-License-Identifier: BSD-3-Clause
"""Tables as Parquet, with types and units."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from psmlearn._images._checks import describe
from psmlearn.io._paths import as_path, atomic_path

__all__ = ["as_arrow_table", "write_parquet"]

# Units by what a name ends in, or begins with, longest first.
_ENDINGS = {
    "_um2": "um^2",
    "_mm2": "mm^2",
    "_um": "um",
    "_od": "optical density",
}
_BEGINNINGS = {"centroid_": "pixel", "bbox_": "pixel"}


def write_parquet(
    path: str | os.PathLike, columns: Mapping[str, Sequence | np.ndarray]
) -> None:
    """Write columns of one length; see `write_table`."""
    table = as_arrow_table(path, columns)
    from pyarrow import parquet

    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)


def as_arrow_table(
    path: str | os.PathLike, columns: Mapping[str, Sequence | np.ndarray]
) -> Any:
    """Return columns of one length as a pyarrow table, with types and units."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f"Cannot write {as_path(path)!r}: Parquet is written with pyarrow, which "
            "is not installed: pip install psmlearn[parquet]"
        ) from error
    arrays = {
        str(name): _as_arrow(path, name, column, pyarrow)
        for name, column in columns.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or len(arrays) != len(columns):
        raise ValueError(
            f"Cannot write {as_path(path)!r}: expected columns of one length and of "
            f"different names, got {lengths}."
        )
    fields = [
        pyarrow.field(name, array.type, metadata=_metadata(name))
        for name, array in arrays.items()
    ]
    return pyarrow.Table.from_arrays(
        list(arrays.values()), schema=pyarrow.schema(fields)
    )


def _as_arrow(path: str | os.PathLike, name: Any, column: Any, pyarrow: Any) -> Any:
    """Return a column with a type of its own."""
    values = np.asarray(column)
    problem = f"Cannot write {as_path(path)!r}: column {name!r}"
    if values.ndim != 1:
        raise ValueError(
            f"{problem} has {describe(values)}; expected columns of one length, with "
            "one value a row."
        )
    if values.dtype.kind in "biufM":
        return pyarrow.array(values)
    # Among texts numpy turns None and numbers into text; what came tells.
    listed = values.tolist() if isinstance(column, np.ndarray) else list(column)
    listed = [_encodable(value) for value in listed]
    try:
        return pyarrow.array(listed)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        kinds = sorted({type(value).__name__ for value in listed})
        raise ValueError(
            f"{problem} holds {', '.join(kinds)}; expected values of one type that "
            f"Parquet has ({error})."
        ) from error


def _encodable(value: Any) -> Any:
    """Return text without what of a file name is no text; other things as they are."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _metadata(name: str) -> dict[str, str] | None:
    for ending, unit in _ENDINGS.items():
        if name.endswith(ending):
            return {"unit": unit}
    for beginning, unit in _BEGINNINGS.items():
        if name.startswith(beginning):
            return {"unit": unit}
    return None
