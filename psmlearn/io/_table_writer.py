# SPDX-License-Identifier: BSD-3-Clause
"""Tables as CSV or Parquet, some rows at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from psmlearn.io._parquet import as_arrow_table
from psmlearn.io._paths import as_path, atomic_path, names_target
from psmlearn.io._write import check_suffix, list_values, open_csv, write_rows

__all__ = ["TableWriter"]

_KINDS = {
    "b": "truth values",
    "i": "whole numbers",
    "u": "whole numbers",
    "f": "floats",
    "U": "text",
    "T": "text",
    "M": "times",
}
# Rows of a group of Parquet, at least: many small groups are slow to read.
_GROUP_SIZE = 1 << 16


class TableWriter:
    """Write a table as CSV or Parquet, some rows at a time, atomically.

    A context manager: the file is there when the block of ``with`` ends, and nothing
    is if it fails. Of a CSV nothing is kept in memory, of a Parquet the rows of one
    group, 65,536 or what is added at once.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .csv or .parquet, which needs pyarrow: ``pip install
        psmlearn[parquet]``.

    Attributes
    ----------
    n_rows : int
        Rows added so far.

    See Also
    --------
    write_table : Of a table that is at hand, in the same form.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from psmlearn.io import TableWriter
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.csv")
    ...     with TableWriter(path) as writer:
    ...         writer.add({"label": [1, 2], "area_um2": [30.5, 41.0]})
    ...         writer.add({"label": [3], "area_um2": [28.25]})
    ...     Path(path).read_text().split()
    ['label,area_um2', '1,30.5', '2,41.0', '3,28.25']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._is_parquet = check_suffix(path, (".csv", ".parquet")) == ".parquet"
        self._path = path
        self._stack: ExitStack | None = None
        self._sink: _CsvSink | _ParquetSink | None = None
        self._kinds: dict[str, str | None] = {}
        self.n_rows = 0

    def __enter__(self) -> TableWriter:
        """Open a temporary file beside that to be written."""
        if self._stack is not None:
            raise RuntimeError(f"{as_path(self._path)!r} is being written already.")
        with ExitStack() as stack:
            part = stack.enter_context(atomic_path(self._path))
            sink = (_ParquetSink if self._is_parquet else _CsvSink)(self._path, part)
            stack.callback(sink.close)
            self._stack = stack.pop_all()
        self._sink, self._kinds, self.n_rows = sink, {}, 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file and give it its name; remove it after an error.

        Raises
        ------
        ValueError
            If nothing was added, so that no column is known.
        """
        stack, sink = self._stack, self._sink
        self._stack = self._sink = None
        if stack is None or sink is None:
            return
        if kind is None:
            try:
                if not self._kinds:
                    raise ValueError(
                        f"Cannot write {as_path(self._path)!r}: nothing was added, so "
                        "that its columns are not known; add a table without rows."
                    )
                sink.finish()
            except BaseException as failed:
                stack.__exit__(type(failed), failed, failed.__traceback__)
                raise
        stack.__exit__(kind, error, trace)

    def add(self, columns: Mapping[str, Sequence | np.ndarray]) -> None:
        """Append rows.

        Parameters
        ----------
        columns : mapping of str to sequence
            Columns of one length, which may be 0: the same ones each time, in the same
            order, each of one type. A list without values may be of any type.

        Raises
        ------
        RuntimeError
            If no block of ``with`` is open.
        ImportError
            If a Parquet file is asked for, and pyarrow is not installed.
        ValueError
            If the columns differ in length, or from those that came before; nothing of
            them is written.
        """
        if self._sink is None:
            raise RuntimeError(
                f"{as_path(self._path)!r} is not open; use the writer within `with "
                "TableWriter(path) as writer:`."
            )
        kinds = {str(name): _kind(column) for name, column in columns.items()}
        self._check(kinds)
        with names_target(self._path):
            n_rows = self._sink.add(columns)
        for name, kind in kinds.items():
            self._kinds[name] = self._kinds.get(name) or kind
        self.n_rows += n_rows

    def _check(self, kinds: Mapping[str, str | None]) -> None:
        """Refuse other columns than came before."""
        problem = f"Cannot write {as_path(self._path)!r}: after {self.n_rows} rows"
        if self._kinds and list(kinds) != list(self._kinds):
            raise ValueError(
                f"{problem} came the columns {', '.join(kinds) or 'of no name'}; "
                f"expected those of before, {', '.join(self._kinds)}."
            )
        for name, kind in kinds.items():
            known = self._kinds.get(name)
            if kind is not None and known is not None and kind != known:
                raise ValueError(
                    f"{problem} column {name!r} holds {kind}; expected {known}, as "
                    "before."
                )


def _kind(column: Any) -> str | None:
    """Return what a column holds, in words; None of a list without values."""
    values = np.asarray(column)
    if values.size == 0 and not isinstance(column, np.ndarray):
        return None
    if values.dtype.kind == "O":  # a text, or None
        kinds = {type(value) for value in values.tolist()} - {type(None)}
        return "text" if kinds <= {str} else "objects"
    return _KINDS.get(values.dtype.kind, f"values of {values.dtype}")


class _CsvSink:
    """Rows of a CSV file."""

    def __init__(self, path: str | os.PathLike, part: str) -> None:
        self._path, self._file = path, open_csv(part)
        self._has_names = False

    def add(self, columns: Mapping[str, Any]) -> int:
        values = list_values(self._path, columns)
        if not self._has_names:
            write_rows(self._file, [tuple(columns)])
            self._has_names = True
        write_rows(self._file, zip(*values, strict=True))
        return len(values[0])

    def finish(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _ParquetSink:
    """Groups of rows of a Parquet file, of the types of the first rows."""

    def __init__(self, path: str | os.PathLike, part: str) -> None:
        self._path, self._part = path, part
        self._writer: Any = None
        self._schema: Any = None
        self._blank: Any = None  # columns of which no row was seen
        self._waiting: list[Any] = []
        self._n_waiting = 0

    def add(self, columns: Mapping[str, Any]) -> int:
        table = as_arrow_table(self._path, columns)
        if not table.num_rows:
            self._blank = self._blank if self._blank is not None else table
            return 0
        if self._schema is None:
            self._schema = table.schema
        self._waiting.append(self._cast(table))
        self._n_waiting += table.num_rows
        if self._n_waiting >= _GROUP_SIZE:
            self._flush()
        return int(table.num_rows)

    def _cast(self, table: Any) -> Any:
        """Take the types of the first rows, where no value is lost."""
        import pyarrow

        try:
            return table.cast(self._schema)
        except (pyarrow.ArrowException, ValueError) as error:
            raise ValueError(
                f"Cannot write {as_path(self._path)!r}: columns of other types than "
                f"those of the first rows ({error}); give each one type."
            ) from error

    def _flush(self) -> None:
        import pyarrow
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._part, self._schema)
        if self._waiting:
            table = pyarrow.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._n_waiting = [], 0

    def finish(self) -> None:
        if self._schema is None:
            self._schema, self._waiting = self._blank.schema, [self._blank]
        self._flush()
        self._writer.close()
        self._writer = None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
