# SPDX-License-Identifier: BSD-3-Clause
"""What a labelling index says, to read, to keep and to write."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from html import escape
from typing import Any, ClassVar

Columns = dict[str, list]

NOTICE = (
    "All nuclei in the region are counted; a pathologist counts tumour cells. "
    "For research use only."
)
# More rows than this do not make a text clearer.
_MAX_ROWS = 12
_HEADER = {
    "image": "image",
    "region": "region",
    "n_positive": "positive",
    "n_negative": "negative",
    "index": "index",
    "low": "interval",
}


def percent(share: float) -> str:
    """Write a share in percent."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def percent_range(low: float, high: float) -> str:
    """Write an interval in percent."""
    return "-" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f} %"


def plain(value: Any) -> Any:
    """Turn NaN, which JSON has no word for, into None; tuples into lists."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True, repr=False)
class LabellingIndex:
    """Share of positive nuclei, with its interval, overall and one by one.

    All nuclei in the region are counted; a pathologist counts tumour cells. For
    research use only. Made by :func:`labelling_index`.

    Attributes
    ----------
    n_positive, n_negative : int
        Nuclei of either class, in all images.
    n_other : int
        Nuclei of another or of no known class, which are not counted.
    index : float
        Positive of all counted nuclei, 0 to 1; NaN if there are none.
    interval : tuple of two floats
        Its confidence interval.
    confidence_level : float
    unit : {"fields", "nuclei"}
        What the interval takes as independent.
    method : str
        How the interval was made.
    n_fields : int
        Images with at least one counted nucleus.
    min_cells : int
        Number of nuclei below which a warning stands.
    per_image : dict of str to list
        Columns "image", "n_positive", "n_negative", "n_cells", "index", "low",
        "high" and "warnings" (a text, empty where there is nothing to say), with a
        row for each image; "h_score" and "allred_score" where intensities were given.
    per_region : dict of str to list, or None
        The same columns and "region", with a row for each region; None where regions
        had no numbers.
    warnings : tuple of str
        What to bear in mind of all images together.
    h_score, allred_score : float or None
        Of all counted nuclei, where intensities were given.
    n_cells : int
        Counted nuclei.
    notice : str
        What is counted, and what for.
    table : dict of str to list
        All rows in one table, for :func:`psmlearn.io.write_table`: images, regions,
        then all together. Each has its own "warnings".
    """

    n_positive: int
    n_negative: int
    n_other: int
    index: float
    interval: tuple[float, float]
    confidence_level: float
    unit: str
    method: str
    n_fields: int
    min_cells: int
    per_image: Columns
    per_region: Columns | None
    warnings: tuple[str, ...]
    h_score: float | None = None
    allred_score: float | None = None
    notice: ClassVar[str] = NOTICE

    @property
    def n_cells(self) -> int:
        return self.n_positive + self.n_negative

    @property
    def table(self) -> Columns:
        overall = {
            "image": "all",
            "region": "",
            "n_positive": self.n_positive,
            "n_negative": self.n_negative,
            "n_cells": self.n_cells,
            "index": self.index,
            "low": self.interval[0],
            "high": self.interval[1],
            "h_score": self.h_score,
            "allred_score": self.allred_score,
            "warnings": " ".join(self.warnings),
        }
        rows = [*_rows(self.per_image), *_rows(self.per_region or {}), overall]
        columns = {key: [row.get(key, "") for row in rows] for key in overall}
        if self.h_score is None:
            del columns["h_score"], columns["allred_score"]
        texts = columns.pop("warnings")
        units = ["nuclei"] * (len(rows) - 1) + [self.unit]
        told = {"unit": units, "warnings": texts, "notice": [self.notice] * len(rows)}
        return columns | told

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts; None for NaN."""
        result = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain(result | {"n_cells": self.n_cells, "notice": self.notice})

    def summary(self) -> list[str]:
        """Return the overall result in a few short lines, without the notice."""
        counts = (
            f"{self.n_positive} positive, {self.n_negative} negative, "
            f"{self.n_cells} nuclei in {_images(len(self.per_image['image']))}"
        )
        if self.n_cells == 0:
            return ["No labelling index", counts]
        lines = [
            f"Labelling index {percent(self.index)} "
            f"({100 * self.confidence_level:g} % interval "
            f"{percent_range(*self.interval)})",
            counts,
            f"Interval: {self.method}",
        ]
        if self.h_score is not None:
            score, allred = (
                "-" if value is None or math.isnan(value) else f"{value:.0f}"
                for value in (self.h_score, self.allred_score)
            )
            lines.insert(2, f"H-score {score} of 300, Allred {allred} of 8")
        return lines

    def __str__(self) -> str:
        lines = self.summary()
        for columns in (self.per_image, self.per_region):
            if columns and len(columns["image"]) > 1:
                lines += ["", *_text_table(columns)]
        lines.append("")
        lines += [f"Warning: {text}" for text in self.warnings]
        return "\n".join([*lines, self.notice])

    # The notice stands wherever the index is shown, so at a prompt too.
    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *others = (escape(line) for line in self.summary())
        parts = [f"<p><b>{first}</b><br>{'<br>'.join(others)}</p>"]
        for columns in (self.per_image, self.per_region):
            if columns and len(columns["image"]) > 1:
                parts.append(_html_table(columns))
        parts += [f"<p>Warning: {escape(text)}</p>" for text in self.warnings]
        return "".join([*parts, f"<p><small>{escape(self.notice)}</small></p>"])


def _images(n_images: int) -> str:
    return f"{n_images} {'image' if n_images == 1 else 'images'}"


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _cells_of_text(columns: Columns) -> list[list[str]]:
    """Header and rows of the short table, as text."""
    keys = [key for key in _HEADER if key in columns]
    table = [[_HEADER[key] for key in keys]]
    for row in _rows(columns)[:_MAX_ROWS]:
        texts = {**row, "index": percent(row["index"])}
        texts["low"] = percent_range(row["low"], row["high"])
        table.append([str(texts[key]) for key in keys])
    return table


def _hidden_rows(columns: Columns) -> str:
    n_hidden = len(columns["image"]) - _MAX_ROWS
    return f"and {n_hidden} more rows" if n_hidden > 0 else ""


def _text_table(columns: Columns) -> list[str]:
    table = _cells_of_text(columns)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        first = row[0].ljust(widths[0])
        pairs = zip(row[1:], widths[1:], strict=True)
        lines.append("  ".join([first, *(text.rjust(w) for text, w in pairs)]))
    hidden = _hidden_rows(columns)
    return [*lines, hidden] if hidden else lines


def _html_table(columns: Columns) -> str:
    header, *rows = _cells_of_text(columns)
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        for row in rows
    )
    hidden = _hidden_rows(columns)
    end = f"<p>{hidden}</p>" if hidden else ""
    return f"<table><tr>{head}</tr>{body}</table>{end}"
