# SPDX-License-Identifier: BSD-3-Clause
"""Data sets of points that lie in folders: images beside tables of points."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from psmlearn.datasets._folders import (
    LABEL_SUFFIXES,
    Skipped,
    check_folder,
    endings_beside,
    find_groups,
    find_images,
    join_folder,
    list_by_stem,
    select_by_ending,
    tell_names,
)
from psmlearn.datasets._parameters import check_flag, check_numbered, check_text
from psmlearn.datasets._stencils import read_stencil
from psmlearn.io import read_points
from psmlearn.io._read import read_size, warn_of_orientation

_OTHER_TABLES = (".tsv", ".xls", ".xlsx", ".ods", ".parquet")
_DESCR = """A folder of images and tables of points
=======================================

Points are rows and columns in pixels, and classes where the tables tell them.
Licence and origin are those of the folder; `groups` are what `group_pattern`
finds in the names, or None: then nothing tells which images share a patient.
"""


def load_point_folder(
    folder: str | os.PathLike,
    *,
    images: str = "images",
    points: str = "points",
    regions: str | None = None,
    image_suffix: str = "",
    point_suffix: str = "",
    region_suffix: str = "",
    row: str = "row",
    column: str = "column",
    label: str | None = "class",
    classes: Mapping[str, int] | None = None,
    delimiter: str = ",",
    require_points: bool = True,
    group_pattern: str | re.Pattern | None = None,
) -> Bunch:
    r"""Load a folder of images and CSV tables of points, paired by name.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds the folders below. An image, its table and its region have the same
        name but for what they end in.
    images : str, default="images"
        Name of the folder of images (TIFF, PNG, JPEG, BMP or WebP); "." is
        `folder` itself.
    points : str, default="points"
        Name of the folder of tables (CSV, with a header).
    regions : str or None, default=None
        Name of the folder of region masks (TIFF or PNG of 0 and 255): where the
        points are complete. None where there are none.
    image_suffix, point_suffix, region_suffix : str, default=""
        What the names end in, before ".png" and the like; files that do not end
        so are passed over. `images="."`, `points="."`, `point_suffix="_points"`,
        `regions="."` and `region_suffix="_roi"` pair `a.png` with `a_points.csv`
        and `a_roi.png`.
    row, column : str, default="row" and "column"
        Names of the columns that hold them, such as "y" and "x".
    label : str or None, default="class"
        Name of the column of classes; None reads none. Where the tables have no
        "class", there are none.
    classes : mapping of str to int or None, default=None
        The class of each text, such as {"positive": 1, "negative": 2}; None
        where tables hold whole numbers.
    delimiter : str, default=","
        What separates the columns of the tables.
    require_points : bool, default=True
        If False, images without a table are no error.
    group_pattern : str, compiled regular expression or None, default=None
        Finds the patient in each name: r"TCGA-\w+-\w+", or r"^(\d+)_" whose
        first group is taken.

    Returns
    -------
    Bunch
        With `images`, a list of absolute paths sorted by name; `points`, a list
        of float arrays (n_points, 3) of row, column and class, or (n_points, 2)
        without classes, None where there is no table; `regions`, a list of bool
        arrays (height, width), or None without `regions`; `target_names`, the
        texts of `classes` in the order of their numbers, or None without;
        `groups`, an array of str, or None; `names`, a list of str; `pixel_size`,
        None; `DESCR`.

    Raises
    ------
    FileNotFoundError
        If a folder, an image, a table that is required, or a region is missing;
        the first are named.
    TypeError
        If a parameter is of the wrong kind.
    ValueError
        If a table or a region is broken, if a point lies outside its image, if
        two files have the same name but for the suffix, or if `group_pattern`
        finds nothing in a name.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from psmlearn.datasets import load_point_folder
    >>> from psmlearn.io import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = np.zeros((9, 9, 3), dtype=np.uint8)
    ...     write_image(os.path.join(folder, "p1.png"), image)
    ...     with open(os.path.join(folder, "p1_points.csv"), "w") as file:
    ...         _ = file.write("class,x,y\npositive,8,4\n")
    ...     data = load_point_folder(
    ...         folder, images=".", points=".", point_suffix="_points",
    ...         row="y", column="x", classes={"positive": 1, "negative": 2})
    >>> data.names, data.points[0].tolist()
    (['p1'], [[4.0, 8.0, 1.0]])
    """
    root = check_folder(folder)
    check_flag("require_points", require_points)
    image_suffix = check_text("image_suffix", image_suffix)
    point_suffix = check_text("point_suffix", point_suffix)
    region_suffix = check_text("region_suffix", region_suffix)
    for column_name, text in (("row", row), ("column", column), ("label", label)):
        if text is not None or column_name != "label":
            check_text(column_name, text)
    if len(check_text("delimiter", delimiter)) != 1:
        raise ValueError(f"delimiter is {delimiter!r}; expected one character.")
    numbers = None if classes is None else check_numbered("classes", classes)
    skipped = Skipped()
    image_folder = check_folder(join_folder(root, images, "images"))
    region_kind: list[tuple[Path, str]] = []
    if regions is not None:
        region_kind = [(join_folder(root, regions, "regions"), region_suffix)]
    beside = endings_beside(image_folder, region_kind)
    image_paths = find_images(image_folder, image_suffix, beside, skipped)
    names = list(image_paths)
    groups = None if group_pattern is None else find_groups(names, group_pattern)
    point_folder = join_folder(root, points, "points")
    tables = _find_partners(point_folder, (".csv",), point_suffix, skipped)
    apart = bool(point_suffix) or not point_folder.samefile(image_folder)
    if apart:
        _note_orphans(tables, names, skipped)
    masks = None
    paths: dict[str, str] = {}
    for region_folder, ending in region_kind:
        paths = _find_partners(region_folder, LABEL_SUFFIXES, ending, skipped)
        if ending or not region_folder.samefile(image_folder):
            _note_orphans(paths, names, skipped)
    skipped.tell()
    if require_points:
        _check_partners(names, tables, point_folder, "table of points", point_suffix)
    for region_folder, ending in region_kind:
        _check_partners(names, paths, region_folder, "region", ending)
        turned: list[tuple[str, int]] = []
        masks = [
            read_stencil(paths[name], read_size(image), image, turned)
            for name, image in image_paths.items()
        ]
        warn_of_orientation(turned)
    columns = {"row": row, "column": column, "label": label}
    loaded = [
        _read_inside(
            tables[name], image, classes=numbers, delimiter=delimiter, **columns
        )
        if name in tables
        else None
        for name, image in image_paths.items()
    ]
    return Bunch(
        images=list(image_paths.values()),
        points=loaded,
        regions=masks,
        target_names=None if numbers is None else _name_classes(numbers),
        groups=groups,
        names=names,
        pixel_size=None,
        DESCR=_DESCR,
    )


def _find_partners(
    folder: Path, suffixes: tuple[str, ...], ending: str, skipped: Skipped
) -> dict[str, str]:
    """Return the tables, or regions, of a folder by the name of their image."""
    # Beside images, pictures have been looked at; other tables have not.
    listed = Skipped()
    files = list_by_stem(check_folder(folder), suffixes, listed, _OTHER_TABLES)
    for path, why in listed.items():
        if os.path.splitext(path)[1].lower() in (*suffixes, *_OTHER_TABLES):
            skipped.add(path, why)
    return select_by_ending(files, ending)


def _note_orphans(
    partners: dict[str, str], names: Iterable[str], skipped: Skipped
) -> None:
    """Note the tables, or regions, that belong to no image."""
    for name in sorted(set(partners).difference(names)):
        skipped.add(partners[name], f"no image is named {name!r}")


def _check_partners(
    names: list[str], partners: dict[str, str], folder: Path, what: str, ending: str
) -> None:
    """Raise an error that names the images without a table, or a region."""
    missing = [name for name in names if name not in partners]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} images have no {what} in "
            f"{str(folder)!r}, named like the image and {ending!r}: "
            f"{tell_names(missing)}."
        )


def _read_inside(path: str, image: str, **options: Any) -> np.ndarray:
    """Read the points of an image, and check that they lie on it."""
    points = read_points(path, **options)
    size = read_size(image)
    # Whether pixels are centred on whole numbers or begin there.
    places = points[:, :2]
    outside = ((places < -0.5) | (places > size)).any(axis=1)
    if outside.any():
        row, column = places[outside][0]
        raise ValueError(
            f"{path!r} holds {int(outside.sum())} point(s) outside its image {image!r} "
            f"of {size} (height, width), such as row {row:g}, column {column:g}; are "
            "the columns those meant by row and column?"
        )
    return points


def _name_classes(classes: Mapping[str, int]) -> list[str]:
    """Return the first text of each class, in their order."""
    names: dict[int, str] = {}
    for text, number in classes.items():
        names.setdefault(int(number), text)
    return [names[number] for number in sorted(names)]
