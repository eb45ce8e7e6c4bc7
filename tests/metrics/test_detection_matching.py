# SPDX-License-Identifier: BSD-3-Clause
"""Matching of points: brute force, crowds, and what other ways of matching lose."""

import time
import tracemalloc

import detection_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from psmlearn.metrics import _point_matching, detection_f1_score, match_points
from psmlearn.metrics._point_matching import count_matches

# Few places, so that points coincide and lie at the radius to the digit.
PLACES = st.tuples(st.integers(0, 6), st.integers(0, 4))
POINTS = st.lists(PLACES, max_size=5)
RADII = st.sampled_from([0.5, 1.0, 2.0, 2.5, 5.0, 100.0])


def as_array(points):
    return np.array(points, dtype=float).reshape(-1, 2)


def check_matching(true, pred, radius, n_pairs, total):
    """Check the pairs themselves, then their number and total distance."""
    rows, cols = match_points(true, pred, radius=radius)
    assert np.all(np.diff(rows) > 0)
    assert len(set(cols.tolist())) == len(cols)
    distances = np.linalg.norm(true[rows] - pred[cols], axis=1)
    assert np.all(distances <= radius)
    assert len(rows) == n_pairs
    assert distances.sum() == pytest.approx(total, abs=1e-9)


def dense_matching(true, pred, radius):
    """Match by a full table in which pairs that are too far apart cost a lot."""
    distances = cdist(true, pred)
    costs = np.where(distances <= radius, distances, 1e6)
    rows, cols = linear_sum_assignment(costs)
    close = distances[rows, cols] <= radius
    return int(close.sum()), float(distances[rows, cols][close].sum())


@settings(max_examples=150, deadline=None)
@given(true=POINTS, pred=POINTS, radius=RADII)
def test_small_cases_equal_brute_force(true, pred, radius):
    n_pairs, total = oracle.best_matching(true, pred, radius)
    true, pred = as_array(true), as_array(pred)
    assert count_matches(true, pred, radius) == n_pairs
    check_matching(true, pred, radius, n_pairs, total)


@settings(max_examples=150, deadline=None)
@given(true=POINTS, pred=POINTS, radius=RADII, n_neighbours=st.sampled_from([2, 3]))
@pytest.mark.slow
def test_small_crowds_equal_brute_force(true, pred, radius, n_neighbours):
    n_pairs, total = oracle.best_matching(true, pred, radius)
    true, pred = as_array(true), as_array(pred)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_point_matching, "_N_NEIGHBOURS", n_neighbours)
        assert count_matches(true, pred, radius) == n_pairs
        check_matching(true, pred, radius, n_pairs, total)
        patch.setattr(_point_matching, "_CROWDED", 2.0)
        check_matching(true, pred, radius, n_pairs, total)


@settings(max_examples=100, deadline=None)
@given(true=POINTS, pred=POINTS, radius=RADII)
def test_paths_alone_find_the_most_pairs(true, pred, radius):
    n_pairs, _ = oracle.best_matching(true, pred, radius)
    true, pred = as_array(true), as_array(pred)
    if len(true) and len(pred):
        nobody = np.full(len(true), -1)
        partner = _point_matching._enlarge(true, pred, radius, nobody)
        found = partner[partner >= 0]
        assert len(found) == len(set(found.tolist())) == n_pairs


@pytest.mark.parametrize(
    ("n_points", "size", "radius"),
    [(300, 400.0, 10.0), (400, 150.0, 10.0), (150, 20.0, 8.0), (300, 5.0, 10.0)],
    ids=["sparse", "dense", "crowd", "spot"],
)
@pytest.mark.parametrize("seed", range(3))
def test_larger_cases_equal_a_full_table(n_points, size, radius, seed):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, size, (n_points, 2))
    pred = rng.uniform(0, size, (n_points - 40, 2))
    n_pairs, total = dense_matching(true, pred, radius)
    assert count_matches(true, pred, radius) == n_pairs
    check_matching(true, pred, radius, n_pairs, total)


def test_a_chain_needs_one_long_path():
    true = np.column_stack([np.zeros(60), np.arange(60) * 2.0])
    pred = true[:-1] + [0, 1]
    assert count_matches(true, pred, 1.0) == 59
    nobody = np.full(60, -1)
    # Each true point starts with the prediction before it; the first has none.
    nobody[1:] = np.arange(59)
    pred = np.vstack([pred, [0, 119.0]])
    partner = _point_matching._enlarge(true, pred, 1.0, nobody)
    assert partner.tolist() == list(range(60))


def test_most_pairs_come_before_least_distance():
    true = np.array([[0.0, 0.0], [0.0, 10.0]])
    pred = np.array([[0.0, 9.0], [0.0, 19.0]])
    # The close pair alone has a distance of 1, both pairs one of 18.
    rows, cols = match_points(true, pred, radius=9)
    assert (rows.tolist(), cols.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize("radius", [100, 1e9, 1e300])
@pytest.mark.parametrize("n_neighbours", [2, 16], ids=["crowd", "few"])
def test_of_as_many_pairs_the_least_distance_is_taken(
    monkeypatch, radius, n_neighbours
):
    monkeypatch.setattr(_point_matching, "_N_NEIGHBOURS", n_neighbours)
    true = np.array([[0.0, 0.0], [0.0, 4.0]])
    pred = np.array([[0.0, 5.0], [0.0, 1.0]])
    rows, cols = match_points(true, pred, radius=radius)
    assert (rows.tolist(), cols.tolist()) == ([0, 1], [1, 0])


def test_matching_before_the_cut_loses_pairs():
    true = np.array([[0.0, 0.0], [0.0, 11.0]])
    pred = np.array([[0.0, -6.0], [0.0, 5.0]])
    distances = cdist(true, pred)
    # Pushed to its neighbour each, the points are 6 + 6 apart, and else 5 + 17: all
    # pairs of the least total distance are then cut.
    rows, cols = linear_sum_assignment(distances)
    assert int((distances[rows, cols] <= 5).sum()) == 0
    assert detection_f1_score(true, pred, radius=5) == 0.5


def test_nearest_first_loses_pairs():
    true = np.array([[0.0, 0.0], [0.0, 5.0]])
    pred = np.array([[0.0, 3.0], [0.0, 9.0]])
    distances = cdist(true, pred)
    n_greedy = 0
    while distances.min() <= 4:
        row, col = np.unravel_index(distances.argmin(), distances.shape)
        distances[row], distances[:, col] = np.inf, np.inf
        n_greedy += 1
    assert n_greedy == 1
    assert detection_f1_score(true, pred, radius=4) == 1.0


def test_the_radius_itself_counts():
    assert detection_f1_score([[[0, 0]]], [[[6, 8]]], radius=10) == 1.0
    assert detection_f1_score([[[0, 0]]], [[[6, 8]]], radius=np.nextafter(10, 0)) == 0.0
    far = 2**40
    true, pred = [[[far, far]]], [[[far + 6, far - 8]]]
    assert detection_f1_score(true, pred, radius=10) == 1.0


@pytest.mark.parametrize(
    "kind", ["uniform", "one place each", "the radius apart", "pixels", "lopsided"]
)
def test_crowds_take_little_memory_and_time(kind):
    rng = np.random.default_rng(0)
    shape = (3000, 2)
    true, pred = rng.uniform(0, 10, shape), rng.uniform(0, 10, shape)
    expected = 3000
    if kind == "one place each":
        true[:], pred[:] = [5, 5], [5, 14]
    elif kind == "the radius apart":
        true[:], pred[:] = [5, 5], [11, 13]
    elif kind == "pixels":
        true, pred = np.round(true), np.round(pred)
    elif kind == "lopsided":
        pred[1000:] += 1000
        expected = 1000
    tracemalloc.start()
    start = time.perf_counter()
    assert count_matches(true, pred, 10.0) == expected
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A list of the 9 million pairs would take 72 MB at the least.
    assert peak < 15e6
    assert seconds < 20


def test_match_points_takes_classes_lists_and_nothing():
    rows, cols = match_points([(1, 1, 7), (5, 5, 2)], [(5, 6)], radius=2)
    assert (rows.tolist(), cols.tolist()) == ([1], [0])
    for true, pred in ([], [(1, 1)]), ([(1, 1)], np.empty((0, 2))), ([], []):
        rows, cols = match_points(true, pred)
        assert rows.shape == cols.shape == (0,)
        assert rows.dtype == cols.dtype == np.int64


def test_match_points_refuses():
    with pytest.raises(ValueError, match=r"y_pred has shape \(2,\).* expected points"):
        match_points([(1, 1)], [1, 2])
    with pytest.raises(ValueError, match="y_true holds NaN.* its point 1 is"):
        match_points([(1, 1), (2, np.nan)], [(1, 2)])
    with pytest.raises(ValueError, match="radius must be one number"):
        match_points([(1, 1)], [(1, 2)], radius=[1, 2])
    with pytest.raises(ValueError, match=r"radius must be .* above 0.*got 0"):
        match_points([(1, 1)], [(1, 2)], radius=0)
