# SPDX-License-Identifier: BSD-3-Clause
"""Scores of objects against those of Cellpose, and what it calls AJI."""

import metrics_peers as peers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_scenes import scenes
from scipy.optimize import linear_sum_assignment

from psmlearn.metrics import (
    aggregated_jaccard_score,
    object_average_precision_score,
    object_f1_score,
    object_precision_score,
    object_recall_score,
)

peers.require("cellpose")


@pytest.fixture(scope="module", autouse=True)
def cellpose():
    return peers.load("cellpose.metrics")


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_counts_at_all_thresholds(scene):
    # Below 0.5 as well: both count the largest one-to-one matching. Empty images
    # are 0/0 to Cellpose, which is NaN.
    options = {"iou_threshold": peers.THRESHOLDS, "zero_division": np.nan}
    scores, *counts = peers.cellpose_counts(*scene, peers.THRESHOLDS)
    tp, fp, fn = (count.astype(np.float64) for count in counts)
    ap = object_average_precision_score(*scene, **options)
    np.testing.assert_array_equal(ap.astype(np.float32), scores)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(ap, tp / (tp + fp + fn))
        np.testing.assert_array_equal(
            object_f1_score(*scene, **options), 2 * tp / (2 * tp + fp + fn)
        )
        # Where just one of the two is empty, ours are 0 and not 0/0.
        np.testing.assert_array_equal(
            object_precision_score(*scene, **options),
            tp / np.where(tp + fp > 0, tp + fp, fn),
        )
        np.testing.assert_array_equal(
            object_recall_score(*scene, **options),
            tp / np.where(tp + fn > 0, tp + fn, fp),
        )


@settings(max_examples=20, deadline=None)
@given(images=st.lists(scenes(), min_size=1, max_size=4))
def test_lists_of_images(images, cellpose):
    true = [np.pad(a, ((0, 0), (0, 1))) for a, _ in images]
    pred = [np.pad(b, ((0, 0), (0, 1))) for _, b in images]
    thresholds = [peers.next_above(threshold) for threshold in (0.5, 0.75, 0.9)]
    with peers.quiet_peer():
        expected, *_ = cellpose.average_precision(true, pred, thresholds)
    got = object_average_precision_score(
        true, pred, iou_threshold=(0.5, 0.75, 0.9), average=None, zero_division=np.nan
    )
    np.testing.assert_array_equal(got.astype(np.float32), expected)


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_aji_is_another_quotient(scene):
    # What it computes: the pixels that a one-to-one matching shares, over all
    # pixels that are foreground in either mask.
    shared, foreground = aji_of_cellpose(*scene)
    got = peers.cellpose_aji(*scene)
    if foreground == 0:
        assert np.isnan(got)
        return
    assert got == shared / foreground


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_aji_agrees_where_objects_have_one_partner_at_most(scene):
    # Then each overlap is in the matching, and Kumar's AJI, AJI+ and that of
    # Cellpose are the same number.
    true, pred = only_pairs(*scene)
    aji = aggregated_jaccard_score(true, pred, zero_division=np.nan)
    plus = aggregated_jaccard_score(true, pred, one_to_one=True, zero_division=np.nan)
    np.testing.assert_equal(aji, plus)
    np.testing.assert_equal(aji, peers.cellpose_aji(true, pred))


def test_aji_of_an_object_cut_in_two():
    true, pred = np.array([[1, 1]]), np.array([[1, 2]])
    # Kumar: 1 / (2 + 1), as the half left over adds its area to the union. Cellpose
    # takes the union of the foreground: 1 / 2.
    assert aggregated_jaccard_score(true, pred) == 1 / 3
    assert aggregated_jaccard_score(true, pred, one_to_one=True) == 1 / 3
    assert peers.cellpose_aji(true, pred) == 1 / 2


def test_aji_of_two_objects_merged():
    true, pred = np.array([[1, 2, 2]]), np.array([[1, 1, 1]])
    # Kumar gives the prediction to both: (1 + 2) / (3 + 3); AJI+ to the second only:
    # 2 / (3 + 1); Cellpose matches one to one too: 2 / 3.
    assert aggregated_jaccard_score(true, pred) == 1 / 2
    assert aggregated_jaccard_score(true, pred, one_to_one=True) == 1 / 2
    assert peers.cellpose_aji(true, pred) == 2 / 3


def test_aji_of_cellpose_matches_iou_of_half_first():
    # AJI+ pairs both objects (IoU 2/7 + 2/7): (2 + 2) / (7 + 7). Cellpose takes the
    # one pair with IoU of at least 0.5 (5/9), though the sum is less: 5 / 9. Kumar
    # gives the first prediction to both: (2 + 5) / (7 + 9 + 2).
    true = np.array([[1, 1, 2, 2, 2, 2, 2, 2, 2]])
    pred = np.array([[1, 1, 1, 1, 1, 1, 1, 2, 2]])
    assert aggregated_jaccard_score(true, pred) == 7 / 18
    assert aggregated_jaccard_score(true, pred, one_to_one=True) == 4 / 14
    assert peers.cellpose_aji(true, pred) == 5 / 9


def test_cellpose_takes_iou_equal_to_the_threshold_for_a_match(cellpose):
    true, pred = np.array([[0, 1, 1]]), np.array([[0, 1, 0]])
    assert cellpose.average_precision(true, pred, 0.5)[0].tolist() == [1.0]
    assert object_average_precision_score(true, pred, iou_threshold=0.5) == 0.0
    # In double precision: a threshold with a rounding error, as from numpy.arange,
    # is not met by 3/5, though it is for StarDist.
    true, pred = np.array([[0, 1, 1, 1, 1, 1]]), np.array([[0, 1, 1, 1, 0, 0]])
    assert cellpose.average_precision(true, pred, 0.6)[1].tolist() == [1]
    threshold = float(np.arange(0.5, 1, 0.05)[2])
    assert threshold == 0.6000000000000001
    assert cellpose.average_precision(true, pred, threshold)[1].tolist() == [0]


def test_cellpose_miscounts_images_without_background(cellpose):
    # It subtracts one from the number of values, for a background that is not there.
    full = np.array([[1, 2]])
    with peers.quiet_peer():
        ap, tp, fp, fn = cellpose.average_precision(full, full, 0.5)
    assert (tp[0], fp[0], fn[0], ap[0]) == (2, -1, -1, np.inf)
    assert object_average_precision_score(full, full) == 1.0


def test_cellpose_scores_an_empty_image_nan(cellpose):
    empty = np.array([[0]])
    with peers.quiet_peer():
        assert np.isnan(cellpose.average_precision(empty, empty, 0.5)[0]).all()
    assert np.isnan(peers.cellpose_aji(empty, empty))
    assert object_average_precision_score(empty, empty) == 1.0
    assert aggregated_jaccard_score(empty, empty) == 1.0
    assert np.isnan(aggregated_jaccard_score(empty, empty, zero_division=np.nan))


def test_realistic_nuclei(label_pair):
    true, pred = label_pair(500, 180)
    scores, *_ = peers.cellpose_counts(true, pred, peers.THRESHOLDS)
    got = object_average_precision_score(true, pred, iou_threshold=peers.THRESHOLDS)
    np.testing.assert_array_equal(got.astype(np.float32), scores)
    # Touching nuclei: the numbers of the two definitions are some hundredths apart.
    ours = aggregated_jaccard_score(true, pred)
    assert 0.01 < peers.cellpose_aji(true, pred) - ours < 0.1


def shared_pixels(true, pred):
    """Count the pixels that each true object shares with each prediction."""
    both = (true > 0) & (pred > 0)
    table = np.zeros((true.max(), pred.max()))
    np.add.at(table, (true[both] - 1, pred[both] - 1), 1)
    return table


def aji_of_cellpose(true, pred):
    """Count what Cellpose's quotient is of: pixels shared by pairs, and foreground.

    The pairs are those of a one-to-one matching with most IoU of at least 0.5, and
    among those with the largest sum of IoU.
    """
    foreground = np.count_nonzero((true > 0) | (pred > 0))
    table = shared_pixels(true, pred)
    if not table.size:
        return 0, foreground
    areas = [np.bincount(m.ravel(), minlength=2)[1:] for m in (true, pred)]
    unions = areas[0][:, np.newaxis] + areas[1] - table
    ious = table / np.maximum(unions, 1)
    gains = (ious >= 0.5) + ious / (2 * min(table.shape))
    return table[linear_sum_assignment(gains, maximize=True)].sum(), foreground


def only_pairs(true, pred):
    """Remove the objects that overlap more than one of the other image."""
    table = shared_pixels(true, pred) > 0
    keep_true = np.append(True, table.sum(axis=1) < 2)
    keep_pred = np.append(True, table.sum(axis=0) < 2)
    return np.where(keep_true[true], true, 0), np.where(keep_pred[pred], pred, 0)
