# SPDX-License-Identifier: BSD-3-Clause
"""Objects of label images as regions of interest of ImageJ."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from psmlearn._images._outlines import Outline, trace_outlines
from psmlearn._parameters import check_number
from psmlearn._typing import Mask
from psmlearn.io._masks import check_mask
from psmlearn.io._objects import ClassColors, ClassNames, object_classes
from psmlearn.io._paths import atomic_path
from psmlearn.io._write import check_suffix, names_its_file

__all__ = ["write_rois"]

# Above, whole numbers do not fit; ImageJ then takes floats.
_LARGEST_WHOLE = 60_535
_LARGEST_FLOAT = 1 << 24
_MOST_CHARACTERS = 80
# Steps of a path.
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
# Files repeat.
_TIME = (1980, 1, 1, 0, 0, 0)


@names_its_file
def write_rois(
    path: str | os.PathLike[str],
    labels: Mask,
    *,
    classes: Mapping[int, str] | Sequence[str] | None = None,
    colors: Mapping[str, Sequence[int]] | None = None,
    position: int = 0,
) -> None:
    """Write the objects of a label image as a ROI zip of ImageJ, atomically.

    Drag the file onto ImageJ or Fiji, or open it in the ROI manager. Outlines run
    along the edges of pixels, so each region holds the very pixels of its object:
    traced polygons, and composites where an object has holes or several pieces. Needs
    roifile: ``pip install psmlearn[imagej]``.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in .zip.
    labels : ndarray of shape (height, width) or (height, width, 2), or path
        Ids; a second plane holds classes.
    classes : mapping of int to str or sequence of str, default=None
        Names of the classes; a sequence is numbered from 1. None takes "Positive" and
        "Negative" for 1 and 2, and "Class 3" and so on for others.
    colors : mapping of str to (red, green, blue), default=None
        Of classes by name, from 0 to 255; those of
        :func:`~psmlearn.io.write_geojson` where there are none.
    position : int, default=0
        Slice of a stack that the objects lie on, from 1; 0 is all slices.

    Raises
    ------
    ImportError
        If roifile is not installed.
    TypeError, ValueError
        If the labels or a parameter are not what is expected.
    OSError
        If the file cannot be written.

    Notes
    -----
    Regions are named by the id and the class, such as ``7 Positive``; what ImageJ or a
    zip cannot name is an underscore. The properties of each region hold both, with
    other letters than those of ASCII as ImageJ reads them (``\\u00f6``).

    References
    ----------
    C. A. Schneider, W. S. Rasband and K. W. Eliceiri, "NIH Image to ImageJ: 25 years of
    image analysis", Nature Methods 9, 2012.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import roifile
    >>> from psmlearn.io import write_rois
    >>> labels = np.array([[0, 1, 1], [0, 1, 0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "nuclei.zip")
    ...     write_rois(path, labels)
    ...     roifile.roiread(path)[0].coordinates().tolist()
    [[3, 0], [3, 1], [2, 1], [2, 2], [1, 2], [1, 0]]
    """
    check_suffix(path, (".zip",))
    try:
        import roifile
    except ImportError as error:
        raise ImportError(
            "write_rois writes with roifile, which is not installed: pip install "
            "psmlearn[imagej]"
        ) from error
    check_number(position, "position", 0, whole=True, inclusive=True)
    mask = check_mask(labels, name="labels")
    ids = mask[..., 0] if mask.ndim == 3 else mask
    if max(ids.shape) > _LARGEST_FLOAT:
        raise ValueError(
            f"labels are {ids.shape} pixels; ImageJ takes at most {_LARGEST_FLOAT} "
            "rows and columns. Write parts of them."
        )
    kinds, names = object_classes(mask), ClassNames(classes)
    shades = ClassColors(colors)
    with (
        atomic_path(path) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for outline in trace_outlines(ids):
            roi = roifile.ImagejRoi()
            _set_outline(roi, outline, roifile)
            roi.name = str(outline.id)
            roi.props = f"label: {outline.id}\n"
            roi.position = int(position)
            if outline.id in kinds:
                name = names.of(kinds[outline.id])
                roi.name += f" {_plain(name)}"
                roi.props += f"class: {_escaped(_plain(name))}\n"
                roi.stroke_color = bytes([255, *shades.of(name)])
            entry = zipfile.ZipInfo(f"{roi.name}.roi", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, roi.tobytes())


def _set_outline(roi: Any, outline: Outline, roifile: Any) -> None:
    """Put an outline into a region: a traced polygon, or a path of several rings."""
    rings = [ring[:, ::-1] for polygon in outline.polygons for ring in polygon]
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    # 16 bits, of which ImageJ takes those below -5000 for what is above 32,767.
    box = np.array([left, top, right, bottom]).astype(np.int16)
    roi.left, roi.top, roi.right, roi.bottom = box.tolist()
    if len(rings) > 1:
        roi.roitype = roifile.ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate([_as_path(ring) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
        return
    roi.roitype = roifile.ROI_TYPE.TRACED
    roi.n_coordinates = len(corners)
    roi.integer_coordinates = (corners - [left, top]).astype(np.int32)
    if max(right, bottom) > _LARGEST_WHOLE:
        roi.options |= roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = corners.astype(np.float32)


def _as_path(ring: np.ndarray) -> np.ndarray:
    """Return a ring as steps of a path: a move, lines, and the close."""
    steps = np.empty((len(ring), 3), np.float32)
    steps[:, 0], steps[:, 1:] = _LINE, ring
    steps[0, 0] = _MOVE
    return np.append(steps.ravel(), np.float32(_CLOSE))


def _plain(text: str) -> str:
    """Return text that a zip and ImageJ can name."""
    return "".join(
        char if char.isprintable() and char <= "\uffff" and char not in "/\\:" else "_"
        for char in text[:_MOST_CHARACTERS]
    )


def _escaped(text: str) -> str:
    """Return text that Java's properties, as ImageJ reads them, give back."""
    return "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in text)
