# SPDX-License-Identifier: BSD-3-Clause
"""Matching of objects that overlap."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

# Rounds of settling the pairs that every best matching holds, before the solver.
_MAX_ROUNDS = 10
# Pairs given to the solver together; its time grows faster than their number.
_BATCH_SIZE = 512


def best_of_row(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find the first pair of the largest weight in each row; rows are in order."""
    if not rows.size:
        return np.empty(0, dtype=np.intp)
    is_first = np.diff(rows, prepend=-1) > 0
    largest = np.maximum.reduceat(weights, np.flatnonzero(is_first))
    best = np.flatnonzero(weights == largest[np.cumsum(is_first) - 1])
    return best[np.diff(rows[best], prepend=-1) > 0]


def largest_matching_size(
    rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
) -> int:
    """Count the pairs of a one-to-one matching with as many pairs as can be."""
    if not rows.size:
        return 0
    graph = _graph(np.ones(rows.size), rows, cols, shape)
    partner = csgraph.maximum_bipartite_matching(graph, perm_type="column")
    return int(np.count_nonzero(partner >= 0))


def heaviest_matching(
    rows: np.ndarray, cols: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Choose the pairs of a one-to-one matching of the largest total weight.

    Parameters
    ----------
    rows, cols : ndarray of shape (n_pairs,), int
        The two objects of each pair; no pair comes twice.
    weights : ndarray of shape (n_pairs,), float
        Weight of each pair, above 0.

    Returns
    -------
    ndarray of int
        Indices of the pairs chosen.

    Notes
    -----
    A pair that outweighs its best rival in its row and that in its column taken
    together is in every heaviest matching. Settling those, again and again, leaves
    few pairs; these fall into clusters that share no object, which are solved as
    sparse assignment problems.
    """
    chosen = []
    left = np.arange(rows.size)
    for _ in range(_MAX_ROUNDS):
        if not left.size:
            break
        r, c, w = rows[left], cols[left], weights[left]
        sure = w > _best_rival(r, w) + _best_rival(c, w)
        if not sure.any():
            break
        chosen.append(left[sure])
        left = left[~np.isin(r, r[sure]) & ~np.isin(c, c[sure])]
    for batch in _batches(rows[left], cols[left]):
        pairs = left[batch]
        chosen.append(pairs[_assign(rows[pairs], cols[pairs], weights[pairs])])
    return np.concatenate(chosen) if chosen else left


def _best_rival(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find, for each member, the largest weight of the others of its group, or 0."""
    order = np.lexsort((weights, groups))
    sorted_groups, sorted_weights = groups[order], weights[order]
    is_last = np.append(sorted_groups[1:] != sorted_groups[:-1], True)
    last = np.flatnonzero(is_last)
    best, second = sorted_weights[last], np.zeros(last.size)
    shared = np.diff(last, prepend=-1) > 1
    second[shared] = sorted_weights[last[shared] - 1]
    group_of = np.cumsum(is_last) - is_last
    rivals = np.empty(weights.size)
    rivals[order] = np.where(is_last, second[group_of], best[group_of])
    return rivals


def _batches(rows: np.ndarray, cols: np.ndarray) -> list[np.ndarray]:
    """Split pairs into batches that share no object."""
    if not rows.size:
        return []
    row_of, n_rows = _compact(rows)
    col_of, n_cols = _compact(cols)
    n_nodes = n_rows + n_cols
    ends = (row_of, n_rows + col_of)
    graph = _graph(np.ones(rows.size), *ends, (n_nodes, n_nodes))
    cluster = csgraph.connected_components(graph, directed=False)[1][row_of]
    order = np.argsort(cluster, kind="stable")
    # Whole clusters until the batch is full; a larger cluster stands alone.
    sizes = np.bincount(cluster)
    batch_of = (np.cumsum(sizes) - sizes) // _BATCH_SIZE
    cuts = np.flatnonzero(np.diff(batch_of[cluster[order]])) + 1
    return np.split(order, cuts)


def _assign(rows: np.ndarray, cols: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose the pairs of the heaviest matching by sparse Jonker-Volgenant."""
    row_of, n_rows = _compact(rows)
    col_of, n_cols = _compact(cols)
    # The solver matches every row, so each gets a column of its own that means
    # "none". One added to all weights changes nothing and keeps them from 0.
    alone = np.arange(n_rows)
    graph = _graph(
        np.concatenate([1.0 + weights, np.ones(n_rows)]),
        np.concatenate([row_of, alone]),
        np.concatenate([col_of, n_cols + alone]),
        (n_rows, n_cols + n_rows),
    )
    partner = csgraph.min_weight_full_bipartite_matching(graph, maximize=True)[1]
    return np.flatnonzero(partner[row_of] == col_of)


def _graph(
    weights: np.ndarray, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """Build a graph with the 32-bit places that older csgraph routines ask for."""
    places = (rows.astype(np.int32), cols.astype(np.int32))
    return sparse.csr_array((weights, places), shape=shape)


def _compact(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the values from 0 on."""
    present, numbers = np.unique(values, return_inverse=True)
    return numbers, present.size
