# SPDX-License-Identifier: BSD-3-Clause
"""Centres and classes of the objects of a label image."""

from __future__ import annotations

import numpy as np

from psmlearn.metrics._checks import check_class_values, check_values
from psmlearn.metrics._object_classes import commonest, list_runs, number_ids


def measure_objects(
    mask: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Find the centre and the class of each object, in the order of the ids.

    Parameters
    ----------
    mask : ndarray of shape (height, width) or (height, width, 2), int
        A label image, with or without classes.
    name : str
        What to call it in errors.

    Returns
    -------
    points : ndarray of shape (n_objects, 2), float64
        Mean row and column of each object's pixels.
    classes : ndarray of shape (n_objects,), int64, or None
        The class of most of its pixels; of equals, the lowest. None (0) or unknown
        (-1) only where no pixel has another.
    """
    ids, classes, rows, columns, sizes = list_runs(mask)
    check_values(ids, mask if mask.ndim == 2 else mask[..., 0], name)
    if classes is not None:
        check_class_values(classes, name)
    is_object = ids > 0
    rows, columns, sizes = rows[is_object], columns[is_object], sizes[is_object]
    numbers = number_ids(ids[is_object])[1]
    areas = np.bincount(numbers, weights=sizes)
    points = np.empty((areas.size, 2))
    points[:, 0] = np.bincount(numbers, weights=sizes * rows)
    points[:, 1] = np.bincount(numbers, weights=sizes * (columns + (sizes - 1) / 2))
    points /= areas[:, np.newaxis]
    if classes is None:
        return points, None
    return points, commonest(numbers, classes[is_object], sizes)
