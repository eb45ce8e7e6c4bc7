# SPDX-License-Identifier: BSD-3-Clause
"""Outlines in the XML of Aperio ImageScope, read safely and rasterised."""

from __future__ import annotations

import os
from xml.etree.ElementTree import Element

import numpy as np

from psmlearn.datasets._polygons import paint_labels

_MAX_XML_BYTES = 1 << 28


def read_aperio_outlines(path: str) -> list[np.ndarray]:
    """Read every region of an Aperio XML file, in the file's order.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of ndarray of shape (n_vertices, 2), dtype float64
        Vertices as (row, column); they may lie outside the image.

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

    if not os.path.isfile(path):
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
    return [_read_vertices(region, path) for region in root.iter("Region")]


def _read_vertices(region: Element, path: str) -> np.ndarray:
    """Return the vertices of one region as (row, column)."""
    try:
        pairs = [
            (float(vertex.attrib["Y"]), float(vertex.attrib["X"]))
            for vertex in region.iter("Vertex")
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path!r}: region {region.get('Id', '?')} has a vertex without numbers X "
            f"and Y ({error})."
        ) from error
    vertices = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(vertices).all():
        raise ValueError(
            f"{path!r}: region {region.get('Id', '?')} has a vertex that is not finite."
        )
    return vertices


def rasterize_outlines(
    outlines: list[np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """Draw outlines into a label image, each within its bounding box.

    Where outlines overlap, the later one wins; those of fewer than three
    vertices are skipped, and so are those wholly covered or outside.

    Parameters
    ----------
    outlines : list of ndarray of shape (n_vertices, 2)
        Vertices as (row, column), in pixels.
    shape : tuple (height, width)

    Returns
    -------
    ndarray of shape (height, width), dtype int32
        Ids 1..n in the order of the outlines.
    """
    from skimage.draw import polygon

    drawn = [outline for outline in outlines if len(outline) >= 3]
    return paint_labels(
        (polygon(outline[:, 0], outline[:, 1], shape) for outline in drawn), shape
    )
