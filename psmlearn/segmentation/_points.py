# SPDX-License-Identifier: BSD-3-Clause
"""Points of nuclei that lie close together, merged."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

__all__ = ["merge_near"]


def merge_near(points: np.ndarray, distance: float) -> np.ndarray:
    """Replace points linked by city-block steps below `distance` by their mean.

    Parameters
    ----------
    points : ndarray of shape (n_points, 2 or more), float
        Row, column, and whatever else is to be averaged.
    distance : float
        In pixels; 0 merges nothing.
    """
    if distance <= 0 or len(points) < 2:
        return points
    pairs = KDTree(points[:, :2]).query_pairs(distance, p=1, output_type="ndarray")
    if not len(pairs):
        return points
    links = coo_array(
        (np.ones(len(pairs), bool), pairs.T), shape=(len(points), len(points))
    )
    n_groups, group = connected_components(links, directed=False)
    size = np.bincount(group, minlength=n_groups)
    means = [
        np.bincount(group, points[:, k], n_groups) / size
        for k in range(points.shape[1])
    ]
    return np.stack(means, axis=1)
