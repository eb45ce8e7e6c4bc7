# SPDX-License-Identifier: BSD-3-Clause
"""Scores of objects against those of StarDist."""

import metrics_peers as peers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes

from psmlearn.metrics import (
    detection_quality_score,
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
    panoptic_quality_score,
    segmentation_quality_score,
)

OBJECT_SCORES = {
    "precision": object_precision_score,
    "recall": object_recall_score,
    "f1": object_f1_score,
    "accuracy": object_average_precision_score,
}

peers.require("stardist")


@pytest.fixture(scope="module", autouse=True)
def matching():
    return peers.load("stardist.matching").matching


@settings(max_examples=80, deadline=None)
@given(scene=scenes())
def test_counts_at_all_thresholds(scene):
    # Below 0.5 as well: both count the largest one-to-one matching.
    found = peers.stardist_matching(*scene, peers.THRESHOLDS)
    for name, score in OBJECT_SCORES.items():
        got = score(*scene, iou_threshold=peers.THRESHOLDS, zero_division=0)
        assert got.tolist() == [getattr(one, name) for one in found]


@settings(max_examples=50, deadline=None)
@given(scene=scenes())
def test_quality(scene):
    thresholds = peers.SAFE_THRESHOLDS
    options = {"iou_threshold": thresholds, "zero_division": 0}
    found = peers.stardist_matching(*scene, thresholds)
    pq = panoptic_quality_score(*scene, **options)
    sq = segmentation_quality_score(*scene, **options)
    dq = detection_quality_score(*scene, **options)
    recall = object_recall_score(*scene, **options)
    assert dq.tolist() == [one.f1 for one in found]
    sums = np.array([peers.sum_of_ious(*scene, one) for one in found])
    tp, half = np.array([(one.tp, (one.n_true + one.n_pred) / 2) for one in found]).T
    close = {"rel": 1e-12, "abs": 0}
    assert sq == pytest.approx(sums / np.maximum(tp, 1), **close)
    assert pq == pytest.approx(sums / np.maximum(half, 0.5), **close)
    # As StarDist gives them, in single precision.
    rough = {"rel": 1e-5, "abs": 0}
    assert pq == pytest.approx([float(one.panoptic_quality) for one in found], **rough)
    assert sq == pytest.approx(
        [float(one.mean_matched_score) for one in found], **rough
    )
    assert sq * recall == pytest.approx(
        [float(one.mean_true_score) for one in found], **rough
    )


@settings(max_examples=25, deadline=None)
@given(images=st.lists(scenes(), min_size=1, max_size=4))
def test_averages_over_images(images):
    true, pred = [a for a, _ in images], [b for _, b in images]
    dataset = peers.load("stardist.matching").matching_dataset
    threshold = peers.next_above(0.5, np.float32)
    for average in ("macro", "micro"):
        by_image = average == "macro"
        with peers.quiet_peer():
            found = dataset(
                true, pred, threshold, by_image=by_image, show_progress=False
            )
        options = {"average": average, "zero_division": 0}
        for name, score in OBJECT_SCORES.items():
            expected = pytest.approx(getattr(found, name), rel=1e-12, abs=0)
            assert score(true, pred, **options) == expected
        pq = pytest.approx(float(found.panoptic_quality), rel=1e-5, abs=0)
        assert panoptic_quality_score(true, pred, **options) == pq


def test_realistic_nuclei(label_pair):
    true, pred = label_pair(500, 180)
    found = peers.stardist_matching(true, pred, peers.THRESHOLDS)
    assert found[0].n_true > 150
    f1 = object_f1_score(true, pred, iou_threshold=peers.THRESHOLDS)
    assert f1.tolist() == [one.f1 for one in found]
    at_half = found[peers.THRESHOLDS.index(0.5)]
    half = (at_half.n_true + at_half.n_pred) / 2
    expected = peers.sum_of_ious(true, pred, at_half) / half
    pq = panoptic_quality_score(true, pred)
    assert pq == pytest.approx(expected, rel=1e-12, abs=0)


def row(*ids):
    # The type of the random images: StarDist compiles its loop once for each.
    return np.array([ids], dtype=np.int32)


def test_iou_equal_to_the_threshold_is_a_match_to_stardist(matching):
    true, pred = row(1, 1), row(1, 0)
    assert matching(true, pred, thresh=0.5).f1 == 1.0
    assert object_f1_score(true, pred, iou_threshold=0.5) == 0.0
    # A true object halved has two candidates then, and PQ depends on the choice of
    # one: the rule "above" is what makes partners unique from 0.5 on.
    halves = row(1, 2)
    found = matching(true, halves, thresh=0.5)
    assert (found.tp, found.fp, found.fn) == (1, 1, 0)
    assert found.panoptic_quality == pytest.approx(1 / 3)
    assert panoptic_quality_score(true, halves) == 0.0


def test_stardist_keeps_iou_in_single_precision(matching):
    true, pred = row(1, 1, 1), row(1, 1, 0)
    assert float(matching(true, pred).panoptic_quality) == 0.6666666865348816
    assert panoptic_quality_score(true, pred) == 2 / 3
    # So a threshold with a rounding error, as from numpy.arange, is met by 3/5.
    true, pred = row(1, 1, 1, 1, 1), row(1, 1, 1, 0, 0)
    threshold = float(np.arange(0.5, 1, 0.05)[2])
    assert threshold == 0.6000000000000001
    assert matching(true, pred, thresh=threshold).tp == 1
    assert object_f1_score(true, pred, iou_threshold=threshold) == 0.0
    # Ours is open to errors to the other side.
    assert object_f1_score(true, pred, iou_threshold=0.6) == 0.0
    assert object_f1_score(true, pred, iou_threshold=0.6 - 1e-16) == 1.0


def test_stardist_scores_an_empty_image_0(matching):
    empty = row(0)
    found = matching(empty, empty)
    assert (found.f1, found.accuracy, found.panoptic_quality) == (0, 0, 0.0)
    assert object_f1_score(empty, empty) == 1.0
    assert object_f1_score(empty, empty, zero_division=0) == 0.0


def test_below_half_both_count_the_largest_matching(matching):
    # The pair of largest IoU (3/5) would leave two objects (1/4 each) alone.
    true, pred = row(1, 2, 2, 2, 2), row(1, 1, 1, 1, 2)
    assert matching(true, pred, thresh=0.2).tp == 2
    assert object_f1_score(true, pred, iou_threshold=0.2) == 1.0
    assert object_f1_score(true, pred, iou_threshold=0.3) == 0.5
