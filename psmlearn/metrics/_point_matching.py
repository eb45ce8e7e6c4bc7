# SPDX-License-Identifier: BSD-3-Clause
"""One-to-one matching of points that lie close to each other."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from psmlearn._typing import PointTable
from psmlearn.io._point_checks import as_points
from psmlearn.metrics._matching import augment, heaviest_matching, largest_matching
from psmlearn.metrics._points import check_radius

# Neighbours asked for at first; only in crowds does a point have more.
_N_NEIGHBOURS = 16
# The tree's bound is not inclusive, so it is asked for a little more than the radius.
_SLACK = 1 + 1e-9
# Share of all pairs from which a full table of distances is smaller than a list.
_CROWDED = 0.25


def match_points(
    y_true: PointTable, y_pred: PointTable, *, radius: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """Match the points of one image one to one.

    Only points at most `radius` apart may be matched. Of all one-to-one matchings of
    these, one with as many pairs as there can be is chosen, and of those one with
    the least total distance.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_points, 2) or (n_points, 3), or path
        Row and column of each point, in pixels. A third column, the class, is not
        looked at. A path is that of a table as `psmlearn.io.read_points` takes it.
    radius : float, default=10.0
        Largest distance of two points that may be matched, in pixels; above 0.

    Returns
    -------
    true_indices, pred_indices : ndarray of shape (n_matches,), int64
        The points of each pair, in the order of the true ones.

    Raises
    ------
    ValueError
        If the points have not two or three columns or are not finite, or if `radius`
        is not above 0.

    See Also
    --------
    detection_f1_score : The score that the number of matches gives.

    Notes
    -----
    Time and memory grow with the number of pairs within the radius, but never
    beyond those of a full table of distances where all points crowd together.

    Examples
    --------
    >>> from psmlearn.metrics import match_points
    >>> true = [[10, 10], [10, 18], [40, 40]]
    >>> pred = [[10, 14], [10, 3], [80, 80]]
    >>> true_indices, pred_indices = match_points(true, pred, radius=8)
    >>> true_indices.tolist(), pred_indices.tolist()
    ([0, 1], [1, 0])
    """
    radii, is_scalar = check_radius(radius)
    if not is_scalar:
        raise ValueError(f"radius must be one number to match points; got {radius!r}.")
    radius = radii[0]
    true = as_points(y_true, "y_true")[:, :2]
    pred = as_points(y_pred, "y_pred")[:, :2]
    if not len(true) or not len(pred):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    rows, cols, is_all = _nearest_pairs(true, pred, radius)
    if not is_all:
        n_pairs = _count_pairs(true, pred, radius).sum()
        if n_pairs > _CROWDED * len(true) * len(pred):
            return _match_crowd(true, pred, radius)
        rows, cols = _all_pairs(true, pred, radius)
    if not rows.size:
        return rows, cols
    distances = _distance(true[rows], pred[cols])
    full = _more_than_all(distances.max(), min(len(true), len(pred)))
    chosen = heaviest_matching(rows, cols, full - distances)
    chosen = chosen[np.argsort(rows[chosen])]
    return rows[chosen], cols[chosen]


def count_matches(true: np.ndarray, pred: np.ndarray, radius: float) -> int:
    """Count the pairs of a one-to-one matching with as many pairs as can be.

    Parameters
    ----------
    true, pred : ndarray of shape (n, 2), float64
        The points.
    radius : float
        Largest distance of two points that may be matched.

    Returns
    -------
    int

    Notes
    -----
    The pairs of each point with its nearest neighbours are matched first. Where some
    point has more neighbours than were asked for, some others, drawn at random, are
    added, and the matching is enlarged by paths that are looked for without a list of
    the pairs: memory stays linear in the number of points even if all of them lie in
    one spot.
    """
    if not len(true) or not len(pred):
        return 0
    rows, cols, is_all = _nearest_pairs(true, pred, radius)
    if not is_all:
        more_rows, more_cols = _drawn_pairs(true, pred, radius)
        rows, cols = np.append(rows, more_rows), np.append(cols, more_cols)
    partner = largest_matching(rows, cols, (len(true), len(pred)))
    if not is_all and np.count_nonzero(partner >= 0) < min(len(true), len(pred)):
        partner = _enlarge(true, pred, radius, partner)
    return int(np.count_nonzero(partner >= 0))


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Measure from point to point; the one formula that decides what is close."""
    gap = first - second
    return np.sqrt(gap[:, 0] ** 2 + gap[:, 1] ** 2)


def _more_than_all(longest: float, n_pairs: int) -> float:
    """Give a number above the sum of so many distances: what one pair more is worth."""
    return (longest or 1.0) * (1 + n_pairs)


def _nearest_pairs(
    true: np.ndarray, pred: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pair the true points with their nearest neighbours; tell if these are all."""
    distances, cols = KDTree(pred).query(
        true, k=_N_NEIGHBOURS, distance_upper_bound=radius * _SLACK
    )
    is_near = np.isfinite(distances)
    rows, cols = np.nonzero(is_near)[0], cols[is_near]
    is_close = _distance(true[rows], pred[cols]) <= radius
    return rows[is_close], cols[is_close], not is_near[:, -1].any()


def _count_pairs(true: np.ndarray, pred: np.ndarray, radius: float) -> np.ndarray:
    """Count the predictions within a little more than the radius of each point."""
    return KDTree(pred).query_ball_point(true, radius * _SLACK, return_length=True)


def _drawn_pairs(
    true: np.ndarray, pred: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """List some of the pairs within the radius, about as many for each point.

    Both sides are dealt into as many groups as leave few pairs in a group.
    """
    n_pairs = _count_pairs(true, pred, radius).sum()
    n_groups = 1 + int(n_pairs // (_N_NEIGHBOURS * (len(true) + len(pred))))
    rng = np.random.default_rng(0)
    true_order, pred_order = rng.permutation(len(true)), rng.permutation(len(pred))
    drawn = []
    for group in range(min(n_groups, len(true), len(pred))):
        members = true_order[group::n_groups], pred_order[group::n_groups]
        pairs = _all_pairs(true[members[0]], pred[members[1]], radius)
        drawn.append([side[few] for side, few in zip(members, pairs, strict=True)])
    rows, cols = (np.concatenate(side) for side in zip(*drawn, strict=True))
    return rows, cols


def _all_pairs(
    true: np.ndarray, pred: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """List all pairs within the radius."""
    near = KDTree(true).sparse_distance_matrix(
        KDTree(pred), radius * _SLACK, output_type="ndarray"
    )
    rows, cols = near["i"], near["j"]
    is_close = _distance(true[rows], pred[cols]) <= radius
    return rows[is_close], cols[is_close]


def _match_crowd(
    true: np.ndarray, pred: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match by a full table of distances."""
    costs = np.empty((len(true), len(pred)))
    for row, point in enumerate(true):
        costs[row] = _distance(point[np.newaxis], pred)
    is_far = costs > radius
    costs[is_far] = 0
    full = _more_than_all(costs.max(), min(costs.shape))
    costs[is_far] = full
    rows, cols = linear_sum_assignment(costs)
    is_close = costs[rows, cols] < full
    return rows[is_close], cols[is_close]


def _enlarge(
    true: np.ndarray, pred: np.ndarray, radius: float, partner: np.ndarray
) -> np.ndarray:
    """Enlarge a matching along augmenting paths until there are none.

    Parameters
    ----------
    true, pred : ndarray of shape (n, 2), float64
        The points.
    radius : float
        Largest distance of two points that may be matched.
    partner : ndarray of shape (n_true,), int
        Prediction of each true point, or -1.

    Returns
    -------
    ndarray of shape (n_true,), int64
        The enlarged matching.
    """
    partner = partner.astype(np.int64)
    owner = np.full(len(pred), -1)
    owner[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    while True:
        parent, ends = _grow_paths(true, pred, radius, partner, owner)
        if not ends.size:
            return partner
        augment(partner, owner, parent, ends)


def _grow_paths(
    true: np.ndarray,
    pred: np.ndarray,
    radius: float,
    partner: np.ndarray,
    owner: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Grow trees of alternating paths from all free true points at once.

    A layer of the trees takes one query: of each prediction not reached yet for the
    nearest of the true points reached last.

    Returns
    -------
    parent : ndarray of shape (n_pred,), int64
        The true point from which each prediction was reached, or -1.
    ends : ndarray of int64
        Free predictions, at most one of each tree.
    """
    front = np.flatnonzero(partner < 0)
    root = np.full(len(true), -1)
    root[front] = front
    parent = np.full(len(pred), -1)
    waiting = np.arange(len(pred))
    ends = np.empty(0, dtype=np.int64)
    while front.size and waiting.size:
        _, nearest = KDTree(true[front]).query(
            pred[waiting], distance_upper_bound=radius * _SLACK
        )
        # Where there is none, the query gives the number of points.
        nearest = np.append(front, -1)[nearest]
        is_close = nearest >= 0
        is_close &= _distance(true[nearest], pred[waiting]) <= radius
        reached, waiting = waiting[is_close], waiting[~is_close]
        parent[reached] = nearest[is_close]
        is_free = owner[reached] < 0
        found = reached[is_free]
        roots, first = np.unique(root[parent[found]], return_index=True)
        ends = np.append(ends, found[first])
        inner = reached[~is_free]
        front = owner[inner]
        root[front] = root[parent[inner]]
        # A tree grows no further once it has an end.
        front = front[~np.isin(root[front], roots)]
    return parent, ends
