# SPDX-License-Identifier: BSD-3-Clause
"""The gate for points: arrays, tables in files, lists of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from psmlearn._typing import Path, Points
from psmlearn._warnings import warn_user
from psmlearn.exceptions import AnnotationWarning
from psmlearn.io._collections import as_array, list_items, prefix
from psmlearn.io._masks import load_mask
from psmlearn.io._paths import as_path, is_path
from psmlearn.io._points import LARGEST, read_points

if TYPE_CHECKING:
    from psmlearn.io._batch import ImageBatch

_EXPECTED = "expected points (n, 2) of row and column, or (n, 3) with the class"
EXPECTED_EITHER = (
    "expected points (n, 2) of row and column, (n, 3) with the class, or a label image"
)


def check_points(
    y: Points, images: ImageBatch | None = None, *, caller: str = ""
) -> list[np.ndarray]:
    """Check points, such as the centres of nuclei, and that they fit the images.

    Parameters
    ----------
    y : list of arrays and paths, array or path
        For each image (n_points, 2) of row and column in pixels, or (n_points, 3)
        with the class, or the path of a CSV file as `read_points` takes it. Those of
        one image alone, or one path, will do.
    images : ImageBatch or None, default=None
        The images they belong to; None checks the points alone.
    caller : str, default=""
        Name put before errors, such as the estimator's.

    Returns
    -------
    list of ndarray of shape (n_points, 2 or 3), dtype float64
        All with classes or none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `y` is no array, list or path.
    ValueError
        If there are not as many arrays as images, if points are not finite or
        outside of their image, if some images' have classes and others' not, or if a
        class is no whole number from -1 on.

    Examples
    --------
    >>> from psmlearn.io import check_points
    >>> check_points([[[10, 20.5, 1], [30, 8, 2]], []])
    [array([[10. , 20.5,  1. ],
           [30. ,  8. ,  2. ]]), array([], shape=(0, 3), dtype=float64)]
    """
    try:
        named = list_items(y, "points", _EXPECTED, _is_one_table, numbered="points {}")
        if images is not None:
            named = _of_images(named, images)
        points = _alike([(name, as_points(item, name)) for name, item in named])
        if images is not None:
            _check_places(points, images)
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise type(error)(f"{prefix(caller)}{error}") from error
    return points


def are_points(y: Any, images: ImageBatch) -> bool:
    """Tell whether y is points (n, 2 or 3) of the images, not masks of them.

    Tables of whole numbers with the shape of their image are masks; files are points
    where their names end in .csv.
    """
    if is_path(y):
        return _is_table(y)
    if isinstance(y, np.ndarray) and y.dtype.kind in "biuf":
        if y.ndim == 3:
            return y.dtype.kind == "f" and y.shape[2] in (2, 3)
        y = [y]
    if not isinstance(y, list | tuple | np.ndarray) or not len(y):
        return False
    shapes = [*images.shapes, *[None] * len(y)]
    return all(
        _are_points_of(item, shape) for item, shape in zip(y, shapes, strict=False)
    )


def list_points(y: Points, name: str) -> list[tuple[str, Any]]:
    """List points or label images, each with what to call it in errors.

    Parameters
    ----------
    y : points or label images
        A list of arrays and paths, a stack, those of one image, or one path.
    name : str
        What to call them all in errors, such as "y_true".
    """

    def is_one(array: np.ndarray) -> bool:
        if array.ndim == 3 and array.shape[2] == 2 and array.dtype.kind != "f":
            raise ValueError(
                f"{name} has shape {array.shape}: points of many images, or one mask "
                f"with classes? Give a list: list({name}), or [{name}]."
            )
        stacked = array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 2)
        if array.ndim != 2 and not stacked:
            raise ValueError(f"{name} has shape {array.shape}; {EXPECTED_EITHER}.")
        return array.ndim == 2

    return list_items(y, name, f"{EXPECTED_EITHER}, or a list of them", is_one)


def load_points_or_mask(item: Any, name: str) -> np.ndarray:
    """Take an array of points or a label image; files are told by .csv."""
    if is_path(item):
        return _read_table(item, name) if _is_table(item) else load_mask(item, name)
    array = as_array(item, name, EXPECTED_EITHER)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}; {EXPECTED_EITHER}.")
    return array


def as_points(item: Any, name: str) -> np.ndarray:
    """Check the points of one image, given as an array or the path of a table.

    Returns
    -------
    ndarray of shape (n, 2) or (n, 3), float64
    """
    if is_path(item):
        return _read_table(item, name)
    points = as_array(item, name, _EXPECTED)
    if points.shape == (0,):
        return np.empty((0, 2))
    if points.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {points.dtype}; {_EXPECTED}.")
    if points.ndim != 2 or points.shape[1] not in (2, 3) or points.dtype.kind == "b":
        hint = " (points of one image go in a list: [points])" * (points.ndim == 1)
        raise ValueError(
            f"{name} has shape {points.shape} and dtype {points.dtype}; {_EXPECTED}"
            f"{hint}."
        )
    values = points.astype(np.float64)
    bad = ~(np.abs(values) <= LARGEST).all(axis=1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name} holds NaN, infinite or huge values: its point {index} is "
            f"{points[index].tolist()}."
        )
    return values


def whole_classes(values: np.ndarray, name: str) -> np.ndarray:
    """Take classes, the third column, from floats."""
    classes = values.astype(np.int64)
    bad = (classes != values) | (classes < -1)
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name} holds the class {values[index]:g} in the third column, at its "
            f"point {index}; expected whole numbers from 1 on, 0 for none and -1 for "
            "unknown."
        )
    return classes


def tell_points_beside(
    sets: Iterable[tuple[str, np.ndarray, tuple[int, ...] | None]],
) -> None:
    """Warn once of points beside their image, where its size is known.

    Parameters
    ----------
    sets : iterable of (name, points, (height, width) or None)

    Warns
    -----
    AnnotationWarning
        If any lie beside: they count nowhere, and may be in another frame.
    """
    told = []
    for name, points, shape in sets:
        if shape is None or not len(points):
            continue
        # Whether pixels are centred on whole numbers or begin there.
        beside = ((points < -0.5) | (points > np.array(shape[:2]))).any(axis=1)
        if beside.any():
            row, column = points[beside][0]
            told.append(
                f"{int(beside.sum())} of {len(points)} points of {name} lie beside its "
                f"image of {tuple(shape[:2])} (height, width), such as row {row:g}, "
                f"column {column:g}"
            )
    if told:
        more = f"; and those of {len(told) - 5} more" if len(told) > 5 else ""
        warn_user(
            f"{'; '.join(told[:5])}{more}. They count nowhere; are they in pixels of "
            "this image, as (row, column)?",
            AnnotationWarning,
        )


def _is_one_table(array: np.ndarray) -> bool:
    if array.ndim not in (2, 3):
        raise ValueError(f"points have shape {array.shape}; {_EXPECTED}, or a list.")
    return array.ndim == 2


def _is_table(path: Path) -> bool:
    return as_path(path).lower().endswith(".csv")


def _read_table(path: Path, name: str) -> np.ndarray:
    try:
        return read_points(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from error
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _are_points_of(item: Any, shape: tuple[int, int] | None) -> bool:
    if is_path(item):
        return _is_table(item)
    try:
        array = np.asarray(item)
    except ValueError:
        return False
    if array.size == 0:
        return True
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        return False
    kind = array.dtype.kind
    return kind == "f" or (kind in "iu" and array.shape != shape)


def _alike(named: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """Give all tables as many columns; those without a row take what others have."""
    widths = {table.shape[1] for _, table in named if len(table)}
    if len(widths) > 1:
        raise ValueError(
            "The points of some images have a column of classes and those of others "
            "have none; give all of them one, 0 where the class is unknown, or none."
        )
    # Only an array without points tells the kind where there is no point at all.
    empty = [table.shape[1] for _, table in named]
    width = widths.pop() if widths else max(empty, default=2)
    for name, table in named:
        whole_classes(table[:, 2:].ravel(), name)
    return [table if len(table) else table.reshape(0, width) for _, table in named]


def _of_images(
    named: list[tuple[str, Any]], images: ImageBatch
) -> list[tuple[str, Any]]:
    """Name the points by their images, of which there must be as many."""
    if len(named) != len(images):
        raise ValueError(
            f"{len(named)} arrays of points were given for {len(images)} images; "
            "expected one for each image, in the same order."
        )
    return [
        (f"The table of points of {name}", item)
        for name, (_, item) in zip(images.names, named, strict=True)
    ]


def _check_places(points: list[np.ndarray], images: ImageBatch) -> None:
    """Refuse points beside their image."""
    for table, name, shape in zip(points, images.names, images.shapes, strict=True):
        places = table[:, :2]
        if ((places < -0.5) | (places > np.subtract(shape, 0.5))).any():
            raise ValueError(
                f"The points of {name} leave the image of shape {shape}; points are "
                "(row, column) in pixels."
            )
