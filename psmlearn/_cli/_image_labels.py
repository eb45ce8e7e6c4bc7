# SPDX-License-Identifier: BSD-3-Clause
"""Labels of images from a CSV file, each found by the name of its image."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psmlearn._cli._sources import fold_name
from psmlearn._cli._terminal import N_TOLD, tell_some
from psmlearn.io._paths import printable, stem_of

if TYPE_CHECKING:
    import numpy as np

    from psmlearn.weak._labels import LabelCode

__all__ = ["ImageLabels", "read_image_labels"]

_IMAGE, _LABEL = "image", "label"
_DELIMITERS = ",;\t"
# Pairs of names of which it is clear which is that of images without any object.
_NEGATIVES = {frozenset({"false", "true"}): "false", frozenset({"no", "yes"}): "no"}


@dataclass(frozen=True)
class ImageLabels:
    """What is known of images.

    Attributes
    ----------
    path : str
        The file that tells it, as it is shown.
    columns : tuple of str
        Names of the classes that an image shows or not; empty where it has one label.
    rows : mapping of str to tuple
        By the path of each image: its label, or 0 and 1 of each class.
    """

    path: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def of(self, paths: Iterable[str]) -> Any:
        """Return the labels of images, as estimators take them."""
        import numpy as np

        rows = [self.rows[path] for path in paths]
        return np.array(rows) if self.columns else np.array([row[0] for row in rows])

    def named(self, paths: Iterable[str]) -> Any:
        """Return the labels of images with the names of their classes, for `fit`."""
        import numpy as np

        if not self.columns:
            return self.of(paths)
        kind = np.dtype([(name, bool) for name in self.columns])
        return np.array([self.rows[path] for path in paths], dtype=kind)

    def shown(self, path: str) -> tuple[str, ...]:
        """Return what was given for an image, as text; empty where nothing was."""
        n_values = len(self.columns) or 1
        return tuple(map(str, self.rows.get(path, [""] * n_values)))

    def learn(
        self, paths: Sequence[str], negative: str | None, none: bool
    ) -> LabelCode:
        """Learn what the labels of images mean.

        Parameters
        ----------
        paths : sequence of str
            The images to train on.
        negative : str or None
            The label of images without any object, where it is given.
        none : bool
            Whether there is none.

        Raises
        ------
        ValueError
            If all images have one label, or it is not clear which is that without.
        """
        from psmlearn.weak._labels import learn_labels

        if not paths:
            raise ValueError(f"{self.path}: no image has a label.")
        labels = self.of(paths)
        if self.columns:
            self._check_columns(labels)
        try:
            return learn_labels(labels, self.negative(negative, none), self.path)
        except ValueError as error:
            told = str(error).replace("negative_label (None if there is none)", "it")
            raise ValueError(
                told.replace("say which by negative_label", "name it")
                + ("" if self.columns or negative else _ADVICE)
            ) from None

    def negative(self, given: str | None, none: bool) -> Any:
        """Return what `negative_label` is to be."""
        if none or self.columns:
            return None if none else "auto"
        values = {row[0] for row in self.rows.values()}
        if given is not None:
            as_number = _number(given)
            return as_number if as_number in values else given
        names = [str(value) for value in values]
        negative = _NEGATIVES.get(frozenset(name.casefold() for name in names))
        return next((n for n in names if n.casefold() == negative), "auto")

    def _check_columns(self, labels: np.ndarray) -> None:
        """Refuse a class that all images show, or none."""
        for name, column in zip(self.columns, labels.T, strict=True):
            if len(set(column.tolist())) < 2:
                which = "all" if column[0] else "none"
                raise ValueError(
                    f"{self.path}: class {printable(name)} is shown by {which} of the "
                    f"{len(column)} images that have a label; images with and without "
                    "it are needed."
                )


_ADVICE = (
    " --negative-label NAME says which label is that of images without any object, "
    "--no-negative that there is none."
)


def read_image_labels(path: Path, images: Sequence[str]) -> ImageLabels:
    """Read labels and find their images.

    Parameters
    ----------
    path : Path
        CSV with a head: a column "image", and "label" or several of 0 and 1.
    images : sequence of str
        Paths of all images of the run.

    Raises
    ------
    ValueError
        If it is no such table, or a line names an image that is not there, or that
        has a label already, or has none: the first five lines are named.
    """
    told = printable(str(path))
    head, lines = _read_lines(path, told)
    place, columns = _find_columns(head, told)
    find = _Finder(path.parent, images)
    rows: dict[str, tuple[Any, ...]] = {}
    first: dict[str, int] = {}
    problems: list[str] = []
    for number, cells in lines:
        try:
            name, values = _read_row(cells, head, place, columns)
            image = find(name)
            if image in rows:
                raise ValueError(
                    f"image {printable(name)} has a label in line {first[image]} "
                    "already"
                )
            rows[image], first[image] = values, number
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = len(problems) - N_TOLD
        text = "; ".join(problems[:N_TOLD]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(f"{told}: {text}.")
    if not rows:
        raise ValueError(
            f"{told}: no image has a label: there are no lines but the head."
        )
    names = tuple(head[each] for each in columns)
    if len(columns) > 1:
        return ImageLabels(told, names, _of_columns(rows, first, names, told))
    return ImageLabels(told, (), _as_numbers(rows))


def _read_lines(path: Path, told: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the head, and the number and cells of each line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{told} is no text in UTF-8; save it as 'CSV UTF-8'."
        ) from None
    if "\0" in text:
        raise ValueError(f"{told} is no text: it holds a zero byte.")
    errors = {}
    for delimiter in _DELIMITERS:
        try:
            found = list(_parse(text, delimiter))
        except csv.Error as error:  # quotes within cells of another delimiter
            errors[delimiter] = error
            continue
        if found and _IMAGE in map(str.casefold, found[0][1]):
            return found[0][1], found[1:]
    if errors:
        raise ValueError(f"{told} is no CSV: {next(iter(errors.values()))}.")
    line = printable(text.partition("\n")[0].strip()[:80])
    raise ValueError(
        f"{told}: its first line has no column 'image' ({line or 'it is empty'}); "
        "expected a head such as image,label."
    )


def _parse(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 1
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield number, stripped
        number = reader.line_num + 1


def _find_columns(head: list[str], told: str) -> tuple[int, list[int]]:
    """Return the place of the images' names, and those of labels."""
    folded = [name.casefold() for name in head]
    twice = [name for name in dict.fromkeys(folded) if folded.count(name) > 1]
    if twice:
        raise ValueError(f"{told}: columns are there twice: {tell_some(twice)}.")
    place = folded.index(_IMAGE)
    if _LABEL in folded:
        return place, [folded.index(_LABEL)]
    others = [each for each in range(len(head)) if each != place]
    if not others or "" in head:
        raise ValueError(
            f"{told}: a column 'label' is expected, or one with a name for each class; "
            f"there are {tell_some(head)}."
        )
    return place, others


def _read_row(
    cells: list[str], head: list[str], place: int, columns: list[int]
) -> tuple[str, tuple[str, ...]]:
    if len(cells) != len(head):
        raise ValueError(f"{len(cells)} cells, where the head has {len(head)}")
    name = cells[place]
    if not name:
        raise ValueError("names no image")
    values = tuple(cells[each] for each in columns)
    if "" in values or any(value.casefold() == "nan" for value in values):
        which = ""
        if len(columns) > 1:
            bad = [c for c, v in zip(columns, values, strict=True) if v in ("", "nan")]
            which = f" of {printable(head[bad[0]])}" if bad else ""
        raise ValueError(f"image {printable(name)} has no label{which}")
    return name, values


def _of_columns(
    rows: Mapping[str, tuple[str, ...]],
    first: Mapping[str, int],
    names: tuple[str, ...],
    told: str,
) -> dict[str, tuple[int, ...]]:
    """Take values of 0 and 1 of each class."""
    result = {}
    for image, values in rows.items():
        numbers = []
        for name, value in zip(names, values, strict=True):
            number = _number(value)
            if number is None or number not in (0, 1):
                raise ValueError(
                    f"{told}: line {first[image]}: image {printable(image)} has "
                    f"{printable(value)!r} in column {printable(name)}; without a "
                    "column 'label' all others say, by 0 and 1, what an image shows."
                )
            numbers.append(number)
        result[image] = tuple(numbers)
    return result


def _as_numbers(rows: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Any, ...]]:
    """Take labels for whole numbers, if all of them are."""
    numbers = {image: _number(values[0]) for image, values in rows.items()}
    if any(number is None for number in numbers.values()):
        return dict(rows)
    return {image: (number,) for image, number in numbers.items()}


def _number(text: str) -> int | None:
    """Return the whole number that a text is, 1.0 too; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value == value // 1 and abs(value) < 2**53 else None


class _Finder:
    """Find images by what a table calls them."""

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        self._folder = folder
        # What is looked for first comes first: whole names, then those without suffix.
        places = (_place, _place_and_stem, _place_without_ome)
        self._by_place = [_index(images, make) for make in places]
        plain = (_name, _stem, stem_of)
        self._by_name = [
            _index(images, make) for make in (*plain, *map(_folded, plain))
        ]

    def __call__(self, name: str) -> str:
        """Return the path of an image.

        Raises
        ------
        ValueError
            If no image is called so, or several are.
        """
        found = next(filter(None, self._look(name)), [])
        if not found:
            raise ValueError(f"image {printable(name)} is not among the images")
        if len(found) > 1:
            raise ValueError(
                f"image {printable(name)} may be {tell_some(found)}; name it by its "
                "path from the CSV, with suffix"
            )
        return found[0]

    def _look(self, name: str) -> Iterator[list[str]]:
        """Yield images that may be meant, what is likeliest first."""
        for each in dict.fromkeys([name, name.replace("\\", "/")]):
            place = os.path.realpath(os.path.join(self._folder, each))
            for index in self._by_place:
                yield index.get(place, [])
            if os.path.basename(each) == each:
                for index in self._by_name:
                    yield index.get(each, index.get(fold_name(each), []))


def _index(images: Sequence[str], make: Callable[[str], str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for image in images:
        index.setdefault(make(image), []).append(image)
    return index


def _place(image: str) -> str:
    return os.path.realpath(image)


def _place_and_stem(image: str) -> str:
    return os.path.splitext(os.path.realpath(image))[0]


def _place_without_ome(image: str) -> str:
    place = os.path.realpath(image)
    return os.path.join(os.path.dirname(place), stem_of(place))


def _name(image: str) -> str:
    return os.path.basename(image)


def _stem(image: str) -> str:
    return os.path.splitext(os.path.basename(image))[0]


def _folded(make: Callable[[str], str]) -> Callable[[str], str]:
    return lambda image: fold_name(make(image))
