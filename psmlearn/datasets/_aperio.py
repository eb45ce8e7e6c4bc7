# SPDX-License-Identifier: BSD-3-Clause
"""Outlines in the XML of Aperio ImageScope, read safely and rasterised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from xml.etree.ElementTree import Element

import numpy as np

from psmlearn.datasets._fill import Pixels, fill_outlines
from psmlearn.datasets._folders import is_regular
from psmlearn.datasets._lost import Drawn, Lost, measure_area, paint

# Parsed, a file takes some twenty times its size.
_MAX_XML_BYTES = 1 << 27
_MAX_COORDINATE = 1e9
_POLYGON, _RECTANGLE, _ELLIPSE = "0", "1", "2"


@dataclass
class Outline:
    """A region of an Aperio file.

    Attributes
    ----------
    vertices : ndarray of shape (n_vertices, 2), dtype float64
        As (row, column); they may lie outside the image.
    name : str
        What to call it in warnings.
    kind : str
        "0" for a polygon, "1" for a rectangle, "2" for an ellipse; arrows, rulers
        and others have other numbers, and no area.
    negative : bool
        Whether it is a hole in the regions around it.
    """

    vertices: np.ndarray
    name: str = "region"
    kind: str = _POLYGON
    negative: bool = False


def read_aperio_outlines(path: str) -> list[Outline]:
    """Read every region of an Aperio XML file, in the file's order.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of Outline

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is broken, too large, or holds a document type, entities or
        external references; the path is named.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    if not is_regular(path):
        raise FileNotFoundError(f"No such annotation file: {path!r}.")
    n_bytes = os.path.getsize(path)
    if n_bytes > _MAX_XML_BYTES:
        raise ValueError(
            f"{path!r} has {n_bytes} bytes; annotations of up to {_MAX_XML_BYTES} are "
            "read."
        )
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise ValueError(
            f"{path!r} is refused: it declares a document type, entities or external "
            f"references, which annotations never need ({type(error).__name__})."
        ) from error
    except (ParseError, LookupError, ValueError, OSError) as error:
        raise ValueError(f"{path!r} is a broken XML file: {error}.") from error
    if root.tag != "Annotations":
        raise ValueError(
            f"{path!r} is no Aperio annotation: its root is <{root.tag}>; expected "
            "<Annotations>."
        )
    return [_read_outline(region, path) for region in root.iter("Region")]


def _read_outline(region: Element, path: str) -> Outline:
    """Return one region, with its own vertices alone."""
    name = f"region {region.get('Id', '?')[:40]}"
    pairs = []
    for element in _own_elements(region, name, path):
        if element.tag != "Vertex":
            continue
        try:
            pairs.append((float(element.attrib["Y"]), float(element.attrib["X"])))
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path!r}: {name} has a vertex without numbers X and Y ({error})."
            ) from error
    vertices = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    if not (np.abs(vertices) <= _MAX_COORDINATE).all():
        raise ValueError(
            f"{path!r}: {name} has a vertex that is not finite, or beyond "
            f"{_MAX_COORDINATE:g} pixels."
        )
    kind = region.get("Type", _POLYGON).strip() or _POLYGON
    if kind != _POLYGON or len(vertices) == 3:
        vertices = _open(vertices)
    negative = region.get("NegativeROA", "0").strip().lower()
    return Outline(vertices, name, kind, negative not in ("", "0", "false"))


def _open(vertices: np.ndarray) -> np.ndarray:
    """Return vertices without a last one that is the first again, as closes it."""
    if len(vertices) > 1 and (vertices[0] == vertices[-1]).all():
        return vertices[:-1]
    return vertices


def _own_elements(region: Element, name: str, path: str) -> Iterator[Element]:
    """Yield what lies in a region and its lists; regions within are refused."""
    for element in region:
        for each in (element, *element):
            if each.tag == "Region":
                raise ValueError(
                    f"{path!r}: {name} holds another region; expected them side by "
                    "side."
                )
            yield each


def rasterize_outlines(
    outlines: list[Outline],
    shape: tuple[int, int],
    lost: Lost | None = None,
    source: str = "",
) -> np.ndarray:
    """Draw outlines into a label image, each within its bounding box.

    Where outlines overlap, the later one wins; negative ones are cut out of those
    that are not wholly within them, wherever they stand in the file.

    Parameters
    ----------
    outlines : list of Outline
    shape : tuple (height, width)
    lost : Lost or None, default=None
        Learns of those that are not seen: wholly covered or outside, of too few
        vertices, or of kinds without an area.
    source : str, default=""
        The file that they come from.

    Returns
    -------
    ndarray of shape (height, width), dtype int32
        Ids 1..n in the order of the outlines.
    """
    lost = Lost() if lost is None else lost
    drawable = []
    for outline in outlines:
        if outline.kind not in (_POLYGON, _RECTANGLE, _ELLIPSE):
            lost.add("line", f"{outline.name}, Type {outline.kind[:9]},", source)
        elif len(outline.vertices) < _least_vertices(outline):
            lost.add("open", outline.name, source)
        else:
            drawable.append(outline)
    holes = _cut_holes([each for each in drawable if each.negative], shape, source)
    solid = [each for each in drawable if not each.negative]
    used: set[int] = set()
    objects = (
        _draw(outline, pixels, holes, used)
        for outline, pixels in zip(solid, _fill(solid, shape, source), strict=True)
    )
    labels, _ = paint(objects, shape, lost, source)
    for number, outline in enumerate(each for each in drawable if each.negative):
        if number + 1 not in used:
            lost.add("useless", outline.name, source)
    return labels


def _least_vertices(outline: Outline) -> int:
    """Return how many vertices a region needs: boxes are told by two corners."""
    return 3 if outline.kind == _POLYGON else 2


def _fill(
    outlines: list[Outline], shape: tuple[int, int], source: str
) -> Iterator[Pixels]:
    """Yield the pixels of regions of any kind."""
    drawn = [each for each in outlines if not _is_ellipse(each)]
    filled = fill_outlines(
        [_corners(each.vertices) for each in drawn],
        shape,
        lambda index: f"{source!r}: {drawn[index].name}",
    )
    for each in outlines:
        yield _fill_ellipse(each.vertices, shape) if _is_ellipse(each) else next(filled)


def _is_ellipse(outline: Outline) -> bool:
    """Tell an ellipse that is told by its box; others are told by their outline."""
    return outline.kind == _ELLIPSE and len(outline.vertices) <= 4


def _corners(vertices: np.ndarray) -> np.ndarray:
    """Return the corners of a box of which two are told, else the vertices."""
    if len(vertices) != 2:
        return vertices
    (top, left), (bottom, right) = vertices
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def _fill_ellipse(vertices: np.ndarray, shape: tuple[int, int]) -> Pixels:
    """Return the pixels in the ellipse of a box, told by corners or its four tips."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    top, left = np.maximum(np.ceil(low), 0).astype(np.intp)
    bottom, right = np.minimum(np.floor(high) + 1, shape).astype(np.intp)
    if bottom <= top or right <= left:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
    rows = (np.arange(top, bottom) - middle[0]) / half[0]
    columns = (np.arange(left, right) - middle[1]) / half[1]
    inside = rows[:, np.newaxis] ** 2 + columns**2 <= 1
    rows, columns = np.nonzero(inside)
    return rows + top, columns + left


def _cut_holes(
    negative: list[Outline], shape: tuple[int, int], source: str
) -> np.ndarray | None:
    """Return the number of the negative region of each pixel, from 1; 0 for none."""
    if not negative:
        return None
    holes = np.zeros(shape, dtype=np.int32)
    for number, pixels in enumerate(_fill(negative, shape, source), start=1):
        holes[pixels] = number
    return holes


def _draw(
    outline: Outline,
    pixels: Pixels,
    holes: np.ndarray | None,
    used: set[int],
) -> Drawn:
    """Draw a region, without the holes in it; `used` learns their numbers."""
    rows, columns = pixels
    if holes is not None and len(rows):
        cut = holes[rows, columns]
        if not cut.all():  # else it is an island, wholly within a hole
            used.update(np.unique(cut).tolist())
            rows, columns = rows[cut == 0], columns[cut == 0]
    return Drawn(
        outline.name, rows, columns, outline.vertices, partial(_measure, outline)
    )


def _measure(outline: Outline) -> float:
    """Return the area of a region, on the image or not."""
    vertices = outline.vertices
    if outline.kind == _POLYGON or len(vertices) > 4:
        return measure_area([[vertices]])
    box = float(np.prod(np.ptp(vertices, axis=0)))
    return box * np.pi / 4 if outline.kind == _ELLIPSE else box
