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
    return int(np.count_nonzero(largest_matching(rows, cols, shape) >= 0))


def largest_matching(
    rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Choose a one-to-one matching with as many pairs as can be.

    Parameters
    ----------
    rows, cols : ndarray of shape (n_pairs,), int
        The two objects of each pair; a pair may come twice.
    shape : (n_rows, n_cols)

    Returns
    -------
    ndarray of shape (n_rows,), int64
        The column of each row, or -1.

    Notes
    -----
    Pairs whose column has the fewest are taken first. The rest is the algorithm of
    Hopcroft and Karp, but for trees that grow from all free rows at once and give one
    path each: a round looks at each pair once, and a handful of rounds is enough. The
    one in SciPy follows one path after the other, and takes minutes in crowds.
    """
    n_rows, n_cols = shape
    partner = np.full(n_rows, -1)
    if not rows.size:
        return partner
    table = sparse.csr_array((np.ones(rows.size, np.int8), (rows, cols)), shape=shape)
    starts, neighbours = table.indptr.astype(np.int64), table.indices.astype(np.int64)
    owner = np.full(n_cols, -1)
    _match_greedily(starts, neighbours, partner, owner)
    while True:
        parent, ends = _grow_trees(starts, neighbours, partner, owner)
        if not ends.size:
            return partner
        augment(partner, owner, parent, ends)


def augment(
    partner: np.ndarray, owner: np.ndarray, parent: np.ndarray, ends: np.ndarray
) -> None:
    """Enlarge a matching by paths from their ends back to where they began; in place.

    Parameters
    ----------
    partner, owner : ndarray of int
        The column of each row, and the row of each column, or -1.
    parent : ndarray of int
        The row from which a column was reached.
    ends : ndarray of int
        The free columns in which paths end; no two paths share a row or a column.
    """
    while ends.size:
        takers = parent[ends]
        freed = partner[takers]
        partner[takers], owner[ends] = ends, takers
        ends = freed[freed >= 0]


def _match_greedily(
    starts: np.ndarray, neighbours: np.ndarray, partner: np.ndarray, owner: np.ndarray
) -> None:
    """Give rows the free column that fewest others want, round after round."""
    degrees = np.bincount(neighbours, minlength=owner.size)
    rows = np.repeat(np.arange(partner.size), np.diff(starts))
    cols = neighbours
    while rows.size:
        wanted = best_of_row(rows, -degrees[cols].astype(np.float64))
        # Of the rows that want one column the first gets it.
        taken, first = np.unique(cols[wanted], return_index=True)
        takers = rows[wanted][first]
        partner[takers], owner[taken] = taken, takers
        is_free = (partner[rows] < 0) & (owner[cols] < 0)
        rows, cols = rows[is_free], cols[is_free]


def _grow_trees(
    starts: np.ndarray, neighbours: np.ndarray, partner: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Grow trees of alternating paths from all free rows at once.

    Returns
    -------
    parent : ndarray of shape (n_cols,), int64
        The row from which each column was reached, or -1.
    ends : ndarray of int64
        Free columns, at most one of each tree.
    """
    front = np.flatnonzero((partner < 0) & (np.diff(starts) > 0))
    root = np.full(partner.size, -1)
    root[front] = front
    parent = np.full(owner.size, -1)
    ends = np.empty(0, dtype=np.int64)
    while front.size:
        lengths = starts[front + 1] - starts[front]
        first = np.repeat(starts[front] - (np.cumsum(lengths) - lengths), lengths)
        reached = neighbours[first + np.arange(lengths.sum())]
        by = np.repeat(front, lengths)
        is_new = parent[reached] < 0
        reached, place = np.unique(reached[is_new], return_index=True)
        parent[reached] = by[is_new][place]
        is_free = owner[reached] < 0
        found = reached[is_free]
        roots, place = np.unique(root[parent[found]], return_index=True)
        ends = np.append(ends, found[place])
        inner = reached[~is_free]
        front = owner[inner]
        root[front] = root[parent[inner]]
        # A tree grows no further once it has an end.
        front = front[~np.isin(root[front], roots)]
    return parent, ends


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
