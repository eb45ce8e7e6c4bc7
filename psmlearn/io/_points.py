# SPDX-License-Identifier: BSD-3-Clause
"""Points, such as the centres of cells, in CSV tables."""

from __future__ import annotations

import csv
import os
import stat
from array import array
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, TextIO

import numpy as np

from psmlearn.io._paths import as_path
from psmlearn.io._write import write_table

LARGEST = 2.0**53
"""Beyond, floats do not tell a pixel from the next."""

_COLUMNS = ("row", "column", "class")
# What tables of nuclei call them; see `psmlearn.measure.nuclei_table`.
_CENTROIDS = ("centroid_row", "centroid_column")
_LONGEST_LINE = 1 << 20


def write_points(path: str | os.PathLike, points: np.ndarray) -> None:
    """Write points as a CSV file of row, column and class, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .csv.
    points : array-like of shape (n_points, 2) or (n_points, 3)
        Row and column, and the class where there is a third column. Classes are
        whole numbers.

    Raises
    ------
    ValueError
        If `points` have another shape, are not finite, or a class is no whole
        number.

    Examples
    --------
    >>> import os, tempfile
    >>> from psmlearn.io import read_points, write_points
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "cells.csv")
    ...     write_points(path, [[10.5, 3.0, 1], [4.0, 8.25, 2]])
    ...     read_points(path)
    array([[10.5 ,  3.  ,  1.  ],
           [ 4.  ,  8.25,  2.  ]])
    """
    table = np.asarray(points)
    if table.ndim != 2 or table.shape[1] not in (2, 3) or table.dtype.kind not in "iuf":
        raise ValueError(
            f"Cannot write {as_path(path)!r}: points have shape {table.shape} and "
            f"dtype {table.dtype}; expected numbers of shape (n_points, 2), or "
            "(n_points, 3) with classes."
        )
    table = table.astype(np.float64)
    if not np.isfinite(table).all():
        raise ValueError(f"Cannot write {as_path(path)!r}: some points are not finite.")
    columns: dict[str, np.ndarray]
    columns = {name: table[:, i] for i, name in enumerate(_COLUMNS[: table.shape[1]])}
    if "class" in columns:
        classes = columns["class"].astype(np.int64)
        if (classes != columns["class"]).any():
            raise ValueError(
                f"Cannot write {as_path(path)!r}: some classes, the third column of "
                "the points, are no whole numbers."
            )
        columns["class"] = classes
    write_table(path, columns)


def read_points(
    path: str | os.PathLike,
    *,
    row: str = "row",
    column: str = "column",
    label: str | None = "class",
    classes: Mapping[str, int] | None = None,
    delimiter: str = ",",
) -> np.ndarray:
    """Read points from a CSV file with a header.

    Parameters
    ----------
    path : str or os.PathLike
    row, column : str, default="row" and "column"
        Names of the columns that hold them, such as "y" and "x". Pixels are
        centred on whole numbers. Where the file has neither "row" nor "column", but
        the centroids of a table of nuclei, these are read.
    label : str or None, default="class"
        Name of the column of classes; None reads none. Where the file has no
        "class", there are none.
    classes : mapping of str to int or None, default=None
        The class of each text, such as {"positive": 1, "negative": 2}; None
        for files that hold whole numbers.
    delimiter : str, default=","

    Returns
    -------
    ndarray of shape (n_points, 2) or (n_points, 3), dtype float64
        Row, column, and the class where there is one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no such table, has a column twice, lines of more cells than
        columns, or a quote that is not closed; the path and the line are named. If
        `classes` holds what is no whole number.
    TypeError
        If `classes` is no mapping of texts.

    Examples
    --------
    >>> import os, tempfile
    >>> from psmlearn.io import read_points
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "cells.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("class,x,y\\npositive,8,4\\n")
    ...     read_points(path, row="y", column="x", classes={"positive": 1})
    array([[4., 8., 1.]])
    """
    path = as_path(path)
    _check_file(path)
    _check_classes(classes)
    rows: Any = None
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"delimiter must be one character, got {delimiter!r}.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            # Strict: a quote that is not closed would swallow the lines that follow.
            lines = _read_lines(file, path)
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(rows, [])]
            while header and not header[-1]:  # a delimiter at the end of lines
                header.pop()
            names = _choose_columns(header, row, column, label, path)
            places = [header.index(name) for name in names]
            # Eight bytes a number, where lists of floats take a hundred.
            points = array("d")
            whole = _whole_rows(rows, len(header), delimiter, path)
            for point in _parse_rows(whole, names, places, classes, path):
                points.extend(point)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path!r} is no text in UTF-8: {error}.") from error
    except csv.Error as error:
        line = "" if rows is None else f", line {rows.line_num}"
        raise ValueError(f"{path!r}{line}, is broken CSV: {error}.") from error
    except MemoryError as error:
        raise MemoryError(f"{path!r} needs more memory than there is.") from error
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror}.") from error
    return np.array(points, dtype=np.float64).reshape(-1, len(names))


def _check_file(path: str) -> None:
    """Refuse what is no regular file: reading from a pipe may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a null character in the name is a ValueError
        raise FileNotFoundError(f"No such table of points: {path!r}.") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise ValueError(f"{path!r} is {what}; expected a table of points (.csv).")


def _read_lines(file: TextIO, path: str) -> Iterator[str]:
    """Yield lines; one without an end would fill the memory."""
    for line in iter(lambda: file.readline(_LONGEST_LINE), ""):
        if len(line) >= _LONGEST_LINE:
            raise ValueError(
                f"{path!r} has a line of more than {_LONGEST_LINE} characters; "
                "expected a CSV file."
            )
        yield line


def _choose_columns(
    header: list[str], row: str, column: str, label: str | None, path: str
) -> list[str]:
    """Return the names of the columns to read."""
    names = [row, column]
    if names == ["row", "column"] and not {*names} & {*header}:
        names = list(_CENTROIDS) if {*_CENTROIDS} <= {*header} else names
    if label is not None and (label in header or label != "class"):
        names.append(label)
    lost = [name for name in names if name not in header]
    if lost:
        raise ValueError(
            f"{path!r} has no column {lost[0]!r}; it has "
            f"{', '.join(map(repr, header)) or 'no header'}. Name the columns by row, "
            "column and label, and their delimiter."
        )
    twice = [name for name in names if header.count(name) + names.count(name) > 2]
    if twice:
        where = "has" if header.count(twice[0]) > 1 else "is to give"
        raise ValueError(
            f"{path!r} {where} the column {twice[0]!r} twice; expected one of each: "
            f"{', '.join(map(repr, names))}."
        )
    return names


def _whole_rows(
    rows: Any, n_columns: int, delimiter: str, path: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, with their numbers, if their cells are sound.

    More cells than columns come of decimal commas, for one; whole lines within a cell
    of a quote that was not closed.
    """
    last = rows.line_num
    for cells in rows:
        n_lines, last = rows.line_num - last, rows.line_num
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path!r}, line {rows.line_num}"
        if any(cell.strip() for cell in cells[n_columns:]):
            raise ValueError(
                f"{where}, has {len(cells)} cells, and the header names {n_columns} "
                "columns; quote cells that hold the delimiter, or name another one; "
                "decimals need a point."
            )
        for cell in cells if n_lines > 1 else ():
            inner = cell.splitlines()[1:] if "\n" in cell or "\r" in cell else []
            if any(part.count(delimiter) >= n_columns - 1 for part in inner):
                raise ValueError(
                    f"{where}, ends a cell that holds whole lines: {cell[:60]!r}; is a "
                    "quote not closed before?"
                )
        yield rows.line_num, cells


def _check_classes(classes: Mapping[str, int] | None) -> None:
    """Refuse classes that are no whole numbers by text."""
    if classes is None:
        return
    if not isinstance(classes, Mapping):
        raise TypeError(
            f"classes is a {type(classes).__name__}; expected a dict of text to whole "
            "number, such as {'positive': 1}, or None."
        )
    for text, value in classes.items():
        if not isinstance(text, str):
            raise TypeError(
                f"classes has the key {text!r}; expected texts, as they stand in the "
                "file."
            )
        number = not isinstance(value, bool | np.bool_) and isinstance(value, Integral)
        if not number or abs(int(value)) > LARGEST:
            raise ValueError(
                f"classes[{text!r}] is {value!r}; expected a whole number."
            )


def _parse_rows(
    rows: Iterator[tuple[int, list[str]]],
    names: list[str],
    places: list[int],
    classes: Mapping[str, int] | None,
    path: str,
) -> Iterator[list[float]]:
    """Yield the numbers of each line that is not empty."""
    for line, cells in rows:
        where = f"{path!r}, line {line}"
        if len(cells) <= max(places):
            raise ValueError(f"{where}, has {len(cells)} cells; expected more.")
        texts = [cells[place].strip() for place in places]
        point = [
            _parse_number(text, name, where)
            for name, text in zip(names[:2], texts[:2], strict=True)
        ]
        if len(texts) == 3:
            point.append(_parse_class(texts[2], classes, where))
        yield point


def _parse_number(text: str, name: str, where: str) -> float:
    value = _as_float(text)
    if not abs(value) <= LARGEST:
        raise ValueError(f"{where}: its {name!r} is {text!r}; expected a number.")
    return value


def _as_float(text: str) -> float:
    """Take a number as it is written in tables; NaN where it is none."""
    try:
        # Python takes 1_000 for a number, tables do not.
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _parse_class(text: str, classes: Mapping[str, int] | None, where: str) -> float:
    if classes is not None:
        if text not in classes:
            raise ValueError(
                f"{where}: its class is {text!r}; expected one of "
                f"{', '.join(map(repr, classes))}."
            )
        return float(classes[text])
    value = _as_float(text)
    if not abs(value) <= LARGEST or value != int(value):
        raise ValueError(
            f"{where}: its class is {text!r}; expected a whole number, or say what the "
            f"texts are, as with classes={{{text!r}: 1}}."
        )
    return value
