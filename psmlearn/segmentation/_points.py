# SPDX-License-Identifier: BSD-3-Clause
"""Points of nuclei: told from masks, and checked."""

from __future__ import annotations

import os

import numpy as np

from psmlearn.io._batch import ImageBatch

__all__ = ["are_points", "check_points"]


def are_points(y, images: ImageBatch) -> bool:
    """Tell whether y is a list of points (n, 2 or 3), not of masks of the images."""
    if not isinstance(y, (list, tuple)) or not y:
        return False
    if any(isinstance(item, (str, bytes, os.PathLike)) for item in y):
        return False
    arrays = [np.asarray(item) for item in y]
    shapes = [*images.shapes, *[None] * len(arrays)]
    return all(
        a.size == 0
        or (
            a.ndim == 2
            and a.shape[1] in (2, 3)
            and (a.dtype.kind == "f" or (a.dtype.kind in "iu" and a.shape != shape))
        )
        for a, shape in zip(arrays, shapes, strict=False)
    )


def check_points(y, images: ImageBatch) -> list[np.ndarray]:
    """Return the points of each image, all with classes or none.

    Returns
    -------
    points : list of ndarray of shape (n_points, 2 or 3), float64

    Raises
    ------
    ValueError
        If there are not as many arrays as images, if points are outside their
        image, if some images' have classes and others' not, or if a class is no
        whole number from -1 on.
    """
    if len(y) != len(images):
        raise ValueError(
            f"{len(y)} arrays of points were given for {len(images)} images."
        )
    arrays = [np.asarray(item, float) for item in y]
    widths = {array.shape[1] for array in arrays if array.size}
    if len(widths) > 1:
        raise ValueError(
            "The points of some images have a column of classes and those of others "
            "have none; give all of them one, 0 where the class is unknown, or none."
        )
    # Only an array without points tells the kind where there is no point at all.
    width = widths.pop() if widths else max(map(_empty_width, arrays))
    points = []
    for array, name, shape in zip(arrays, images.names, images.shapes, strict=True):
        found = array.reshape(-1, width)
        places = found[:, :2]
        if (
            not np.isfinite(places).all()
            or ((places < -0.5) | (places > np.subtract(shape, 0.5))).any()
        ):
            raise ValueError(
                f"The points of {name} leave the image of shape {shape}; points are "
                "(row, column) in pixels."
            )
        classes = found[:, 2:]
        if (classes != np.rint(classes)).any() or (classes < -1).any():
            raise ValueError(
                f"The points of {name} have classes that are no whole numbers from 1 "
                "on, 0 or -1 for unknown; the third column holds the class."
            )
        points.append(found)
    return points


def _empty_width(array: np.ndarray) -> int:
    return 3 if array.ndim == 2 and array.shape[1] == 3 else 2
