# SPDX-License-Identifier: BSD-3-Clause
"""What files of objects share: classes, colours, values of a table, text by stream."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

from psmlearn._parameters import is_number, shown

# Of classes without a colour: QuPath's own for the names that it knows, else these.
_KNOWN_COLORS = {"positive": (250, 62, 62), "negative": (112, 112, 225)}
_COLORS = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (204, 121, 167), (213, 94, 0))
_DEFAULT_NAMES = {1: "Positive", 2: "Negative"}


def object_classes(mask: np.ndarray) -> dict[int, int]:
    """Return the class of each object that has one: that of most of its pixels."""
    if mask.ndim == 2:
        return {}
    inside = mask[..., 0] > 0
    ids, index = np.unique(mask[inside, 0], return_inverse=True)
    kinds, kind = np.unique(np.maximum(mask[inside, 1], 0), return_inverse=True)
    if not ids.size:
        return {}
    votes = np.bincount(index * kinds.size + kind, minlength=ids.size * kinds.size)
    votes = votes.reshape(ids.size, kinds.size)
    votes[:, kinds == 0] = 0  # no class counts only where there is no other
    chosen = kinds[votes.argmax(axis=1)]
    chosen[votes.max(axis=1) == 0] = 0
    return {
        int(own): int(number)
        for own, number in zip(ids, chosen, strict=True)
        if number > 0
    }


class ClassNames:
    """Names of classes by their numbers.

    Parameters
    ----------
    given : mapping of int to str, sequence of str (numbered from 1) or None
    """

    def __init__(self, given: Mapping[int, str] | Sequence[str] | None) -> None:
        if given is None:
            self.known = dict(_DEFAULT_NAMES)
            return
        if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
            raise TypeError(
                f"classes is {shown(given)}; expected the names of classes: a list "
                "from class 1 on, or a dict by number."
            )
        pairs = given.items() if isinstance(given, Mapping) else enumerate(given, 1)
        self.known = {}
        for number, name in pairs:
            if not is_number(number, whole=True) or number < 1:
                raise ValueError(
                    f"classes has the number {shown(number)}; expected whole numbers "
                    "from 1 on."
                )
            self.known[int(number)] = str(name)

    def of(self, number: int) -> str:
        return self.known.get(number, f"Class {number}")


class ClassColors:
    """Colours of classes, told by their names."""

    def __init__(self, given: Mapping[str, Sequence[int]] | None) -> None:
        self.known: dict[str, list[int]] = {}
        for name, color in (given or {}).items():
            values = [int(value) for value in color]
            if len(values) != 3 or not all(0 <= value <= 255 for value in values):
                raise ValueError(
                    f"colors[{name!r}] is {color!r}: red, green and blue from 0 to 255 "
                    "are expected."
                )
            self.known[name] = values

    def of(self, name: str) -> list[int]:
        if name not in self.known:
            known = _KNOWN_COLORS.get(name.lower())
            self.known[name] = list(known or _COLORS[len(self.known) % len(_COLORS)])
        return self.known[name]


def table_values(
    table: Mapping[str, Any] | None, present: np.ndarray, name: str = "table"
) -> dict[str, dict[int, float]]:
    """Return, by column, the finite values of objects.

    Parameters
    ----------
    table : mapping of str to array-like of shape (n_objects,), or None
        With the ids in "label".
    present : ndarray of int
        The ids of all objects.
    name : str, default="table"
        What to call the table in errors.
    """
    if table is None:
        return {}
    if not hasattr(table, "items") or "label" not in table:
        columns = (
            ", ".join(map(str, table)) if hasattr(table, "items") else "no columns"
        )
        raise ValueError(
            f"{name} has the columns {columns}; expected the ids of the objects in "
            "'label', too."
        )
    ids = np.asarray(table["label"])
    unknown = np.setdiff1d(ids, present)
    if unknown.size:
        raise ValueError(
            f"{name} has {unknown.size} label(s) that are no object here, such as "
            f"{unknown[0]}; give the table of these labels."
        )
    found = {}
    for key, column in table.items():
        values = np.asarray(column)
        if values.dtype.kind not in "biuf":
            continue
        if values.shape != ids.shape:
            raise ValueError(
                f"{name}[{key!r}] has shape {values.shape}; expected {ids.shape}, a "
                "value for each label."
            )
        finite = np.isfinite(values)
        found[key] = dict(
            zip(ids[finite].tolist(), values[finite].tolist(), strict=True)
        )
    return found


@contextmanager
def open_text(path: str, *, packed: bool) -> Iterator[TextIO]:
    """Open a file for UTF-8; packed without a time, so that it repeats."""
    if not packed:
        with open(path, "w", encoding="utf-8", newline="\n") as plain:
            yield plain
        return
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", 6, fileobj=raw, mtime=0) as squeezed,
        io.TextIOWrapper(squeezed, encoding="utf-8", newline="\n") as text,
    ):
        yield text
