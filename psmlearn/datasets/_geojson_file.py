# SPDX-License-Identifier: BSD-3-Clause
"""One GeoJSON file as a label image, with its image beside it or without."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from psmlearn.datasets._folders import IMAGE_SUFFIXES
from psmlearn.datasets._geojson import _ADVICE, _Features, _paint, _read_features
from psmlearn.datasets._lost import Lost
from psmlearn.datasets._parameters import compose
from psmlearn.datasets._polygons import MAX_PIXELS, read_drawable_size

__all__ = ["read_nuclei"]

_KINDS = ("annotation", "detection", "cell")


def read_nuclei(path: str) -> tuple[np.ndarray, list[str]]:
    """Read one file as `load_geojson` reads the files of a folder.

    Parameters
    ----------
    path : str
        Ends in .geojson or .geojson.gz. An image of its name beside it says how large
        the label image is; without one it reaches as far as the objects.

    Returns
    -------
    labels : ndarray of shape (height, width), int32
    classes : list of str
        The name of the class of each id, from 1; "" for none.

    Raises
    ------
    OSError, ValueError
        As :func:`psmlearn.datasets.load_geojson`.
    """
    found = _read_features(path, "nucleus", _KINDS, None)
    image = _find_image(Path(path))
    size = _reach(found) if image is None else read_drawable_size(str(image))
    lost = Lost(_ADVICE)
    for kind, name in found.lost:
        lost.add(kind, name, path)
    labels, classes = _paint(found, size, None, lost)
    lost.tell()
    return labels, classes


def _find_image(path: Path) -> Path | None:
    """Return the image of the same name beside a file, if there is just one."""
    name = compose(re.sub(r"\.geojson(\.gz)?$", "", path.name, flags=re.IGNORECASE))
    beside = [each for each in path.parent.iterdir() if each.is_file()]
    images = [each for each in beside if each.suffix.lower() in IMAGE_SUFFIXES]
    named = [
        each for each in images if name in (compose(each.name), compose(each.stem))
    ]
    return named[0] if len(named) == 1 else None


def _reach(found: _Features) -> tuple[int, int]:
    """Return the least size that holds all objects."""
    rings = [r for each in found.objects for rings in each.polygons for r in rings]
    if not rings:
        raise ValueError(f"{found.path!r} holds no outline of an object.")
    # Vertices lie at the edges of pixels, whose centres are whole numbers.
    highest = np.max([ring.max(axis=0) for ring in rings if len(ring)], axis=0)
    height, width = (max(1, int(np.ceil(each + 0.5))) for each in highest)
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{found.path!r} reaches to row {height} and column {width}; masks of up "
            f"to {MAX_PIXELS} pixels are drawn: export parts of the slide."
        )
    return height, width
