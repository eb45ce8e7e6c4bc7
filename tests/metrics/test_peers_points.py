# SPDX-License-Identifier: BSD-3-Clause
"""Scores of points against dense tables of distances, and against other rules."""

import metrics_peers as peers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.measure import regionprops

from psmlearn.metrics import (
    count_error,
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
    match_points,
)


@st.composite
def point_pairs(draw, n_max=60, classes=False):
    """Draw true and predicted points: on a coarse grid, so that many distances tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    side = draw(st.sampled_from([1, 4, 15, 60, 300]))
    numbers = draw(st.tuples(st.integers(0, n_max), st.integers(0, n_max)))
    points = [rng.integers(0, side + 1, (n, 2)).astype(float) for n in numbers]
    kind = draw(st.sampled_from(["grid", "halves", "real", "jitter", "heaps"]))
    if kind == "halves":
        points = [each / 2 for each in points]
    if kind == "heaps":
        # Many in few places, from one of which the next is just within reach.
        points = [each // max(side // 3, 5) * 5 for each in points]
    if kind == "real":
        points = [each + rng.random(each.shape) for each in points]
    if kind == "jitter":
        moved = points[0] + rng.integers(-3, 4, points[0].shape)
        points[1] = np.vstack([moved[rng.random(numbers[0]) < 0.8], points[1][:5]])
    if classes:
        points = [
            np.column_stack([each, rng.integers(1, 4, len(each))]) for each in points
        ]
    return tuple(points)


def expected_scores(n_matches, n_true, n_pred, zero=1.0):
    if not n_true or not n_pred:
        return (0.0 if n_true or n_pred else zero,) * 3
    return (
        n_matches / n_pred,
        n_matches / n_true,
        2 * n_matches / (n_true + n_pred),
    )


def scores(true, pred, **options):
    return tuple(
        score(true, pred, **options)
        for score in (
            detection_precision_score,
            detection_recall_score,
            detection_f1_score,
        )
    )


@settings(max_examples=120, deadline=None)
@given(pair=point_pairs(), radius=st.sampled_from([0.5, 1, 2.5, 5, 10, 50]))
def test_scores_equal_a_dense_assignment(pair, radius):
    true, pred = pair
    n_matches, _ = peers.dense_point_matching(true, pred, radius)
    expected = expected_scores(n_matches, len(true), len(pred))
    assert scores([true], [pred], radius=radius) == expected


@settings(max_examples=120, deadline=None)
@given(pair=point_pairs(), radius=st.sampled_from([0.5, 1, 2.5, 5, 10, 50]))
def test_matches_are_the_most_and_the_closest(pair, radius):
    true, pred = pair
    n_matches, total = peers.dense_point_matching(true, pred, radius)
    rows, columns = match_points(true, pred, radius=radius)
    assert len(rows) == len(columns) == n_matches
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == n_matches
    distances = np.sqrt(((true[rows] - pred[columns]) ** 2).sum(axis=1))
    assert (distances <= radius).all()
    assert distances.sum() == pytest.approx(total, rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(pair=point_pairs(classes=True), radius=st.sampled_from([1, 5, 20]))
def test_scores_of_classes_equal_a_dense_assignment(pair, radius):
    true, pred = pair
    got = np.array(scores([true], [pred], radius=radius, labels=[3, 1]))
    for place, label in enumerate((3, 1)):
        one, other = true[true[:, 2] == label], pred[pred[:, 2] == label]
        n_matches, _ = peers.dense_point_matching(one, other, radius)
        expected = expected_scores(n_matches, len(one), len(other))
        assert tuple(got[:, place]) == expected
        error = count_error([true], [pred], labels=label)
        assert error == abs(len(other) - len(one))


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(point_pairs(), min_size=1, max_size=4))
def test_averages_equal_a_dense_assignment(pairs):
    true, pred = [a for a, _ in pairs], [b for _, b in pairs]
    radii = (2, 6, 12)
    counts = np.array(
        [
            [(peers.dense_point_matching(a, b, r)[0], len(a), len(b)) for r in radii]
            for a, b in pairs
        ]
    )
    each = np.array([[expected_scores(*c)[2] for c in image] for image in counts])
    got = detection_f1_score(true, pred, radius=radii, average=None)
    np.testing.assert_array_equal(got, each)
    macro = detection_f1_score(true, pred, radius=radii)
    assert macro == pytest.approx(each.mean(axis=0), rel=1e-12, abs=0)
    micro = detection_f1_score(true, pred, radius=radii, average="micro")
    assert micro.tolist() == [expected_scores(*c)[2] for c in counts.sum(axis=0)]


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), radius=st.sampled_from([0.5, 2, 8]))
def test_objects_are_points_at_their_centroids(scene, radius):
    true, pred = (
        np.array([o.centroid for o in regionprops(mask)]).reshape(-1, 2)
        for mask in scene
    )
    # An array with two or three columns would be taken for points.
    masks = [[np.pad(mask, ((0, 0), (0, 4)))] for mask in scene]
    n_matches, _ = peers.dense_point_matching(true, pred, radius)
    expected = expected_scores(n_matches, len(true), len(pred))
    assert scores(*masks, radius=radius) == expected
    assert scores(masks[0], [pred], radius=radius) == expected
    assert scores([true], masks[1], radius=radius) == expected
    assert scores(masks[0], [true], radius=1e-9) == (1.0, 1.0, 1.0)
    assert count_error(*masks) == abs(len(pred) - len(true))


# A true point at the origin and one 4 pixels beside it, on which lies a prediction;
# the other prediction is 4 pixels beyond, round the corner.
CORNER_TRUE = np.array([[0.0, 0.0], [0.0, 4.0]])
CORNER_PRED = np.array([[0.0, 4.0], [4.0, 4.0]])


def test_matching_before_gating_loses_matches():
    # Least total distance first: the diagonal and 0 (5.7 in total) in place of two
    # times 4; then the cut at 5 takes the diagonal away.
    distances = cdist(CORNER_TRUE, CORNER_PRED)
    rows, columns = linear_sum_assignment(distances)
    n_left = int((distances[rows, columns] <= 5).sum())
    assert n_left == 1
    assert 2 * n_left / 4 == 0.5
    # Ours cuts first: both pairs of 4 pixels match.
    assert detection_f1_score([CORNER_TRUE], [CORNER_PRED], radius=5) == 1.0


def test_greedy_matching_loses_matches():
    # The closest pair first, as it is often done, leaves the other two alone.
    distances = cdist(CORNER_TRUE, CORNER_PRED)
    closest = np.unravel_index(distances.argmin(), distances.shape)
    assert closest == (1, 0)
    assert distances[0, 1] > 5
    assert detection_f1_score([CORNER_TRUE], [CORNER_PRED], radius=5) == 1.0


def test_nearest_neighbours_count_points_twice():
    # Each true point has a prediction within the radius, but it is the same one.
    true, pred = np.array([[0.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 2.0]])
    assert (cdist(true, pred).min(axis=1) <= 5).all()
    assert detection_recall_score([true], [pred], radius=5) == 0.5
    assert detection_precision_score([true], [pred], radius=5) == 1.0


def test_distance_equal_to_the_radius_is_a_match():
    true, pred = np.array([[0, 0]]), np.array([[3, 4]])
    assert detection_f1_score([true], [pred], radius=5) == 1.0
    assert detection_f1_score([true], [pred], radius=np.nextafter(5, 0)) == 0.0
