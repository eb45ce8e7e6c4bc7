# SPDX-License-Identifier: BSD-3-Clause
"""The field of a given area with the highest labelling index."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any, ClassVar

import numpy as np

from psmlearn._parameters import (
    as_list,
    check_choice,
    check_number,
    check_pixel_size,
    shown,
)
from psmlearn._typing import Points, Regions, Table
from psmlearn.exceptions import CountWarning
from psmlearn.io._pixel_size import warn_of_pixel_sizes
from psmlearn.measure._cells import ImageCells, check_classes, read_cells
from psmlearn.measure._hotspot_grid import FieldGrid, tile_origin
from psmlearn.measure._result import NOTICE, percent, plain

_EXPECTED_SHAPE = "(height, width) in pixels, of all images or of each"
_SIDE = {"whole": True, "inclusive": True}

Found = tuple[float, int, int, float, float]
_NOWHERE: Found = (math.nan, 0, 0, math.nan, math.nan)


@dataclass(frozen=True, repr=False)
class Hotspot:
    """The field with the highest labelling index.

    All nuclei in the field are counted; a pathologist counts tumour cells. For
    research use only. Made by :func:`find_hotspot`.

    Attributes
    ----------
    image : int or None
        Number of the image, from 0; None where no field holds enough nuclei.
    name : str or None
        What the image is called.
    row, column : float
        Centre in pixels.
    radius : float
        Radius of the circle, or half the side of the square, in pixels.
    field : {"circle", "square"}
    area : float
        Square millimetres.
    n_positive, n_negative : int
    index : float
        Positive of all counted nuclei of the field; NaN where there is no field.
    min_cells : int
        Number of nuclei that a field had to hold.
    warnings : tuple of str
        What to bear in mind.
    n_cells : int
        Counted nuclei.
    notice : str
        What is counted, and what for.
    """

    image: int | None
    name: str | None
    row: float
    column: float
    radius: float
    field: str
    area: float
    n_positive: int
    n_negative: int
    index: float
    min_cells: int
    warnings: tuple[str, ...] = ()
    notice: ClassVar[str] = NOTICE

    @property
    def n_cells(self) -> int:
        return self.n_positive + self.n_negative

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts; None for NaN."""
        result = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain(result | {"n_cells": self.n_cells, "notice": self.notice})

    def summary(self) -> list[str]:
        """Return the result in one or two short lines, without the notice."""
        if self.image is None:
            return [f"No hotspot of {self.area:g} mm²"]
        return [
            f"Hotspot of {self.area:g} mm²: labelling index {percent(self.index)} "
            f"({self.n_positive} of {self.n_cells} nuclei)",
            f"{self.name}, {self.field} at row {self.row:.0f}, column "
            f"{self.column:.0f}",
        ]

    def __str__(self) -> str:
        texts = [f"Warning: {text}" for text in self.warnings]
        return "\n".join([*self.summary(), *texts, self.notice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = [escape(line) for line in str(self).split("\n")]
        return f"<p>{'<br>'.join(lines[:-1])}<br><small>{lines[-1]}</small></p>"


def find_hotspot(
    y: Points | Table,
    *,
    area: float,
    pixel_size: float | Sequence[float],
    field: str = "circle",
    regions: Regions | None = None,
    positive: int = 1,
    negative: int = 2,
    min_cells: int = 500,
    shape: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    names: Sequence[str] | None = None,
) -> Hotspot:
    """Find the field of a given area with the highest labelling index.

    Fields that lie in the image are tried on a grid of a tenth of their radius,
    wherever there are nuclei. Of equal ones that with most nuclei is taken, then the
    first, uppermost, leftmost.

    Parameters
    ----------
    y : list of arrays, tables or paths, or one alone
        For each image a label image (height, width, 2) with classes, or points
        (n_points, 3) of row, column and class, or a table of nuclei, as in
        :func:`labelling_index`.
    area : float
        Of the field, in square millimetres: 0.2 is about a high power field.
    pixel_size : float or sequence of float
        Micrometres per pixel, of all images or of each.
    field : {"circle", "square"}, default="circle"
        Form of the field.
    regions : list of arrays or paths, array, path or None, default=None
        Masks (height, width), one for each image: only nuclei inside count. The field
        itself may reach beyond the region.
    positive, negative : int, default=1 and 2
        The two classes. Nuclei of any other are not counted.
    min_cells : int, default=500
        Number of nuclei that a field must hold. Few nuclei reach a high index by
        chance.
    shape : (height, width) or sequence of these, default=None
        Size of the images; needed for points without regions.
    names : sequence of str, default=None
        What to call the images; "image 0" and so on if None.

    Returns
    -------
    hotspot : Hotspot
        With ``image=None`` and NaN where no field holds ``min_cells`` nuclei.

    Raises
    ------
    ValueError
        If the field fits into no image, or a parameter makes no sense.

    Warns
    -----
    UserWarning
        If no field holds ``min_cells`` nuclei.

    Notes
    -----
    The highest of many fields is high by choice: its index is above that of the
    tissue around, and has no interval here.

    Examples
    --------
    >>> import numpy as np
    >>> from psmlearn.measure import find_hotspot
    >>> points = np.array([[20, 20, 2], [25, 20, 2], [80, 75, 1], [84, 80, 1]])
    >>> spot = find_hotspot(
    ...     [points], area=1e-4, pixel_size=0.5, min_cells=2, shape=(100, 100)
    ... )
    >>> spot.n_positive, spot.n_negative, spot.index
    (2, 0, 1.0)
    """
    check_classes(positive, negative)
    check_number(area, "area", 0)
    check_number(min_cells, "min_cells", 0, whole=True)
    check_choice(field, "field", ("circle", "square"))
    cells = read_cells(y, regions, names)
    sizes = _pixel_sizes(pixel_size, len(cells))
    shapes = _shapes(shape, cells)
    wide = math.sqrt(area / math.pi if field == "circle" else area / 4) * 1000.0
    radii = [wide / size for size in sizes]
    if min(radii) < 1:
        raise ValueError(
            f"A {field} of area={area:g} mm² is {2 * wide:.2g} micrometres wide, less "
            "than two pixels; take a larger area, or check pixel_size."
        )
    warn_of_pixel_sizes([image.path for image in cells], sizes)
    best, fullest, n_left_out = _search(
        cells, (positive, negative), radii, field, shapes, min_cells
    )
    if n_left_out == len(cells):
        raise ValueError(
            f"A {field} of {area:g} mm² is {2 * wide:.0f} micrometres wide and fits "
            "into no image; take a smaller area, or check pixel_size."
        )
    texts = _texts(best is None, n_left_out, area, min_cells, fullest)
    if best is None:
        warnings.warn(texts[0], CountWarning, stacklevel=2)
    index, found = (None, _NOWHERE) if best is None else best
    share, n_cells, n_positive, row, column = found
    return Hotspot(
        image=index,
        name=None if index is None else cells[index].name,
        row=row,
        column=column,
        radius=math.nan if index is None else radii[index],
        field=field,
        area=float(area),
        n_positive=n_positive,
        n_negative=n_cells - n_positive,
        index=share,
        min_cells=int(min_cells),
        warnings=tuple(texts),
    )


def _search(
    cells: list[ImageCells],
    classes: tuple[int, int],
    radii: list[float],
    field: str,
    shapes: list[tuple[int, int]],
    min_cells: int,
) -> tuple[tuple[int, Found] | None, int, int]:
    """Best field of all images, nuclei of the fullest, images left out."""
    best, fullest, n_left_out = None, 0, 0
    for index, (image, radius) in enumerate(zip(cells, radii, strict=True)):
        if 2 * radius > min(shapes[index]):
            n_left_out += 1
            continue
        is_wanted = np.isin(image.classes, classes)
        points = image.points[is_wanted]
        is_positive = image.classes[is_wanted] == classes[0]
        found, n_most = _best_field(
            points, is_positive, radius, field, shapes[index], min_cells
        )
        fullest = max(fullest, n_most)
        # Strictly better only, so that the first of equal images stays.
        if found is not None and (best is None or found[:2] > best[1][:2]):
            best = (index, found)
    return best, fullest, n_left_out


def _texts(
    is_none: bool, n_left_out: int, area: float, min_cells: int, fullest: int
) -> list[str]:
    texts = []
    if is_none:
        texts.append(
            f"No field of {area:g} mm² holds {min_cells} nuclei; the fullest holds "
            f"{fullest}."
        )
    if n_left_out:
        texts.append(f"Images smaller than the field, left out: {n_left_out}.")
    return texts


def _pixel_sizes(pixel_size: float | Sequence[float], n_images: int) -> list[float]:
    if isinstance(pixel_size, dict | set | str | bytes) or not np.iterable(pixel_size):
        return [check_pixel_size(pixel_size)] * n_images
    sizes: list[Any] = list(pixel_size)
    if len(sizes) != n_images:
        raise ValueError(
            f"pixel_size holds {len(sizes)} numbers, but there are {n_images} images."
        )
    return [check_pixel_size(size, f"pixel_size[{i}]") for i, size in enumerate(sizes)]


def _shapes(
    shape: tuple[int, int] | Sequence[tuple[int, int]] | None,
    cells: list[ImageCells],
) -> list[tuple[int, int]]:
    """Size of each image: its mask's, its region's, or the given one."""
    given: list[Any] = [None] * len(cells)
    if shape is not None:
        given = as_list(shape, "shape", _EXPECTED_SHAPE)
        if all(map(np.isscalar, given)):
            given = [given] * len(cells)
    if len(given) != len(cells):
        raise ValueError(
            f"shape holds {len(given)} sizes, but there are {len(cells)} images."
        )
    shapes = []
    for image, size in zip(cells, given, strict=True):
        sides: list[Any] = []
        if size is not None:
            sides = as_list(size, "shape", _EXPECTED_SHAPE)
            if len(sides) != 2:
                raise ValueError(
                    f"shape must be {_EXPECTED_SHAPE}, got {shown(shape)}."
                )
            for side in sides:
                check_number(side, "Each side of shape", 1, 2**31, **_SIDE)
        if image.shape is None and size is None:
            raise ValueError(
                f"The points of {image.name} do not tell the size of the image: give "
                "shape=(height, width), or regions."
            )
        height, width = image.shape or sides
        shapes.append((int(height), int(width)))
    return shapes


def _best_field(
    points: np.ndarray,
    is_positive: np.ndarray,
    radius: float,
    field: str,
    shape: tuple[int, int],
    min_cells: int,
) -> tuple[Found | None, int]:
    """Share, nuclei, positive ones, row and column of the best field of one image.

    Also the number of nuclei of the fullest field.
    """
    if not len(points):
        return None, 0
    grid = FieldGrid(radius, shape, field == "circle")
    best, fullest = None, 0
    for tile, members in grid.tiles(points):
        near = points[members]
        n_cells = grid.count(near, tile)
        fullest = max(fullest, int(n_cells.max()))
        enough = n_cells >= min_cells
        if not enough.any():
            continue
        n_positive = grid.count(near[is_positive[members]], tile)[enough]
        counts = n_cells[enough]
        share = n_positive / counts
        highest = np.flatnonzero(share == share.max())
        # Of equals the first of most nuclei: rows and columns are in order.
        first = highest[counts[highest].argmax()]
        centre = np.argwhere(enough)[first] + tile_origin(tile)
        row, column = (float(grid.places(centre[axis], axis)) for axis in (0, 1))
        found = (float(share[first]), int(counts[first]), int(n_positive[first]))
        if best is None or _rank((*found, row, column)) > _rank(best):
            best = (*found, row, column)
    return best, fullest


def _rank(found: Found) -> tuple[float, int, float, float]:
    """Order fields: by share, nuclei, uppermost, leftmost."""
    share, n_cells, _, row, column = found
    return share, n_cells, -row, -column
