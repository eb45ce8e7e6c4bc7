# SPDX-License-Identifier: BSD-3-Clause
"""The table of overlaps, and one-to-one matching."""

import time

import numpy as np
import pytest
from scipy import optimize, sparse

from psmlearn.metrics._checks import MaskPair
from psmlearn.metrics._matching import (
    _best_rival,
    heaviest_matching,
    largest_matching_size,
)
from psmlearn.metrics._overlap import overlap


def dense_overlap(true, pred):
    """Count by numpy.unique over all pixels."""
    true, pred = true.ravel(), pred.ravel()
    keep = (true >= 0) & (pred >= 0)
    true_ids, true_of = np.unique(true[keep], return_inverse=True)
    pred_ids, pred_of = np.unique(pred[keep], return_inverse=True)
    table = np.zeros((true_ids.size, pred_ids.size), dtype=np.int64)
    np.add.at(table, (true_of, pred_of), 1)
    return table, true_ids, pred_ids


@pytest.mark.parametrize(
    ("n_true", "n_pred", "scale"),
    [(3, 3, 1), (3, 3, 10**8), (200, 300, 1), (200, 300, 10**6), (4000, 5000, 1)],
)
def test_noise(n_true, n_pred, scale):
    rng = np.random.default_rng(n_true)
    true = rng.integers(-1, n_true + 1, (70, 90)) * scale
    pred = rng.integers(-1, n_pred + 1, (70, 90)) * scale
    true, pred = np.maximum(true, -1), np.maximum(pred, -1)
    table = overlap(MaskPair(true, pred, "true", "pred"))
    expected, true_ids, pred_ids = dense_overlap(true, pred)
    assert (true_ids[0], pred_ids[0]) == (0, 0)
    np.testing.assert_array_equal(table.true_areas, expected.sum(axis=1)[1:])
    np.testing.assert_array_equal(table.pred_areas, expected.sum(axis=0)[1:])
    rows, cols = np.nonzero(expected[1:, 1:])
    np.testing.assert_array_equal(table.rows, rows)
    np.testing.assert_array_equal(table.cols, cols)
    np.testing.assert_array_equal(table.areas, expected[1:, 1:][rows, cols])
    for values in (table.true_areas, table.pred_areas, table.areas, table.rows):
        assert values.dtype == np.int64


def random_graph(rng, n_rows, n_cols, n_pairs, levels):
    """Draw pairs in row order, with weights of which some are equal."""
    keys = np.unique(rng.integers(0, n_rows * n_cols, n_pairs))
    weights = rng.integers(1, levels + 1, keys.size) / levels
    return keys // n_cols, keys % n_cols, weights


@pytest.mark.parametrize("seed", range(40))
def test_heaviest_matching_is_optimal(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr("psmlearn.metrics._matching._BATCH_SIZE", 1 + seed % 3 * 20)
    monkeypatch.setattr("psmlearn.metrics._matching._MAX_ROUNDS", seed % 4)
    n_rows, n_cols = rng.integers(1, 40, 2)
    n_pairs = rng.integers(1, 150)
    rows, cols, weights = random_graph(rng, n_rows, n_cols, n_pairs, 3 + 100 * seed)
    chosen = heaviest_matching(rows, cols, weights)
    assert np.unique(chosen).size == chosen.size
    assert np.unique(rows[chosen]).size == chosen.size
    assert np.unique(cols[chosen]).size == chosen.size
    table = np.zeros((n_rows, n_cols))
    table[rows, cols] = weights
    best = table[optimize.linear_sum_assignment(table, maximize=True)].sum()
    assert weights[chosen].sum() == pytest.approx(best, rel=1e-12)
    size = largest_matching_size(rows, cols, (n_rows, n_cols))
    ones = table > 0
    assert size == ones[optimize.linear_sum_assignment(ones, maximize=True)].sum()
    assert size >= chosen.size


def test_no_pairs():
    none = np.empty(0, dtype=np.int64)
    assert heaviest_matching(none, none, none.astype(float)).size == 0
    assert largest_matching_size(none, none, (0, 4)) == 0


def test_best_rival():
    groups = np.array([4, 2, 4, 4, 9, 2])
    weights = np.array([0.5, 0.3, 0.7, 0.2, 0.6, 0.3])
    expected = [0.7, 0.3, 0.5, 0.7, 0.0, 0.3]
    np.testing.assert_array_equal(_best_rival(groups, weights), expected)


@pytest.mark.slow
def test_one_cluster_of_many_objects_is_fast():
    """A band of pairs that hangs together and that no pair settles."""
    n = 20_000
    rows = np.repeat(np.arange(n), 3)
    cols = (rows + np.tile([0, 1, 2], n)) % n
    weights = np.random.default_rng(0).uniform(0.3, 0.4, rows.size)
    start = time.process_time()
    chosen = heaviest_matching(rows, cols, weights)
    assert time.process_time() - start < 20
    assert chosen.size > 0.95 * n
    graph = sparse.csr_array((weights, (rows, cols)), shape=(n, n))
    partner = sparse.csgraph.min_weight_full_bipartite_matching(graph, maximize=True)
    assert weights[chosen].sum() >= graph[partner].sum() - 1e-9
