# SPDX-License-Identifier: BSD-3-Clause
"""Panoptic quality against that of torchmetrics, with classes and unknown pixels."""

import metrics_peers as peers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes

from psmlearn.metrics import (
    detection_quality_score,
    panoptic_quality_score,
    segmentation_quality_score,
)

SCORES = (panoptic_quality_score, segmentation_quality_score, detection_quality_score)
# Of our scores torchmetrics has these three, at the threshold 0.5, micro-averaged.
POOLED = {"average": "micro", "zero_division": 0}

peers.require("torchmetrics")


@pytest.fixture(scope="module", autouse=True)
def panoptic_quality():
    return peers.load("torchmetrics.functional.detection").panoptic_quality


@settings(max_examples=40, deadline=None)
@given(scene=scenes())
def test_quality(scene):
    true, pred = scene
    expected = peers.torchmetrics_quality([true], [pred])[0]
    assert quality([true], [pred]) == pytest.approx(expected, rel=1e-12, abs=0)


@settings(max_examples=40, deadline=None)
@given(scene=scenes(max_side=40, classes=True))
def test_quality_of_classes(scene):
    true, pred = scene
    expected = peers.torchmetrics_quality([true], [pred], classes=(1, 2))
    got = quality([true], [pred], labels=[1, 2])
    assert got == pytest.approx(expected.T, rel=1e-12, abs=0)
    of_second = quality([true], [pred], labels=2)
    assert of_second == pytest.approx(expected[1], rel=1e-12, abs=0)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), n_images=st.integers(1, 4))
def test_quality_pooled_over_images(data, n_images):
    images = [data.draw(scenes(max_side=30, classes=True)) for _ in range(n_images)]
    # Each image alone, as its size is its own, and all in one frame.
    height = max(true.shape[0] for true, _ in images)
    width = max(true.shape[1] for true, _ in images)
    framed = [[frame(mask, height, width) for mask in pair] for pair in images]
    expected = peers.torchmetrics_quality(*zip(*framed, strict=True), classes=(1, 2))
    true, pred = zip(*images, strict=True)
    got = quality(true, pred, labels=[1, 2])
    assert got == pytest.approx(expected.T, rel=1e-12, abs=0)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(max_side=40, classes=True, unknown=True))
def test_quality_beside_unknown_pixels(scene):
    check_beside_unknown(*scene)


@settings(max_examples=30, deadline=None)
@given(scene=scenes(max_side=40, classes=True), seed=st.integers(0, 1000))
def test_quality_within_a_region(scene, seed):
    true, pred = scene
    rng = np.random.default_rng(seed)
    region = np.zeros(true.shape[:2], dtype=bool)
    region[rng.integers(len(region)) :, : 1 + rng.integers(region.shape[1])] = True
    hidden = [np.where(region[..., np.newaxis], mask, -1) for mask in scene]
    check_beside_unknown(*hidden)
    for score in SCORES:
        inside = score([true], [pred], labels=[1, 2], regions=region)
        outside_hidden = score(*([mask] for mask in hidden), labels=[1, 2])
        np.testing.assert_array_equal(inside, outside_hidden)


def test_realistic_nuclei(label_pair):
    true, pred = label_pair(300, 60)
    expected = peers.torchmetrics_quality([true], [pred])[0]
    assert expected.min() > 0.5
    assert quality([true], [pred]) == pytest.approx(expected, rel=1e-12, abs=0)


def test_iou_equal_to_the_threshold_is_no_match_to_either():
    true, pred = [np.array([[1, 1]])], [np.array([[1, 0]])]
    assert peers.torchmetrics_quality(true, pred).tolist() == [[0, 0, 0]]
    assert quality(true, pred) == [0, 0, 0]


def test_torchmetrics_scores_an_empty_image_0():
    empty = np.zeros((1, 1), dtype=int)
    assert peers.torchmetrics_quality([empty], [empty]).tolist() == [[0, 0, 0]]
    assert panoptic_quality_score(empty, empty) == 1.0
    assert panoptic_quality_score(empty, empty, zero_division=0) == 0.0


def test_torchmetrics_forgives_objects_that_lie_mostly_in_the_unknown():
    # The second prediction has one known pixel, which is background: to us it is a
    # false alarm, (1) / (1 + 1/2), to torchmetrics nothing.
    true = np.array([[1, 0, 0, -1, -1]])
    pred = np.array([[1, 0, 2, 2, 2]])
    assert panoptic_quality_score(true, pred) == 2 / 3
    assert peers.torchmetrics_quality([true], [pred])[0, 0] == 1.0
    # With half of it known, and no more, it is one to both.
    true = np.array([[1, 0, 0, 0, -1]])
    assert panoptic_quality_score(true, pred) == 2 / 3
    assert peers.torchmetrics_quality([true], [pred])[0, 0] == 2 / 3


def test_torchmetrics_ignores_a_background_that_it_is_not_told_of(panoptic_quality):
    # Category 0 must be a "stuff", else it is unknown, and what is predicted on it
    # counts nowhere: this IoU is 1/3, and becomes 1.
    torch = pytest.importorskip("torch")
    true = torch.tensor([[[[1, 1], [0, 0], [0, 0]]]])
    pred = torch.tensor([[[[1, 1], [1, 1], [1, 1]]]])
    with peers.quiet_peer():
        of_things = panoptic_quality(
            pred, true, things={1}, stuffs=set(), allow_unknown_preds_category=True
        )
    assert of_things.item() == 1.0
    assert panoptic_quality_score([[[1, 0, 0]]], [[[1, 1, 1]]]) == 0.0


def test_torchmetrics_means_over_categories_and_the_background(panoptic_quality):
    # Its default is the mean over the categories, of which the background is one;
    # and areas are divided in single precision.
    torch = pytest.importorskip("torch")
    true = torch.tensor([[[[1, 1], [1, 1], [1, 1], [0, 0]]]])
    pred = torch.tensor([[[[1, 1], [1, 1], [0, 0], [0, 0]]]])
    with peers.quiet_peer():
        mean = panoptic_quality(pred, true, things={1}, stuffs={0})
    # The background's IoU of 1/2 is no match.
    assert mean.item() == pytest.approx((2 / 3 + 0) / 2, rel=1e-6)
    assert mean.item() != (2 / 3) / 2
    assert panoptic_quality_score([[[1, 1, 1, 0]]], [[[1, 1, 0, 0]]]) == 2 / 3


def quality(true, pred, labels=None):
    """Give PQ, SQ and DQ as torchmetrics does."""
    return [score(true, pred, labels=labels, **POOLED) for score in SCORES]


def frame(mask, height, width):
    missing = (height - mask.shape[0], width - mask.shape[1])
    return np.pad(mask, ((0, missing[0]), (0, missing[1]), (0, 0)))


def check_beside_unknown(true, pred):
    """Compare what unmatched objects leave alone, and PQ where the peer counts all."""
    expected = peers.torchmetrics_quality([true], [pred], classes=(1, 2))
    pq, sq, dq = quality([true], [pred], labels=[1, 2])
    for index, label in enumerate((1, 2)):
        assert sq[index] == pytest.approx(expected[index, 1], rel=1e-12, abs=0)
        n_forgiven = count_mostly_unknown(true, pred, label)
        if not n_forgiven:
            assert pq[index] == pytest.approx(expected[index, 0], rel=1e-12, abs=0)
            assert dq[index] == pytest.approx(expected[index, 2], rel=1e-12, abs=0)
        else:
            assert pq[index] <= expected[index, 0] * (1 + 1e-12)
            assert dq[index] <= expected[index, 2] * (1 + 1e-12)


def count_mostly_unknown(true, pred, label):
    """Count objects with less than half of their pixels known, but some."""
    n_found = 0
    for mask, other in ((true, pred), (pred, true)):
        ids = np.where(
            (mask == -1).any(axis=2) | (mask[..., 1] != label), 0, mask[..., 0]
        )
        known = ~(other == -1).any(axis=2)
        for i in np.unique(ids[ids > 0]):
            n_known, n_pixels = (known & (ids == i)).sum(), (ids == i).sum()
            n_found += 0 < n_known < n_pixels / 2
    return n_found
